#!/usr/bin/env bash
# Sets up the logging stack once, in Elasticsearch's image. It is safe to run again.
#
#   setup.sh certificates   a private authority, and a certificate for each service
#   setup.sh users          passwords, roles, users, the template of the stream
#
# Passwords come from /run/secrets and go through files and standard input, never on a command line.
set -Eeuo pipefail
umask 077

HERE=/usr/share/naru/logging
CERTIFICATES=/usr/share/naru/certificates
SECRETS=/run/secrets
ELASTICSEARCH=https://elasticsearch:9200
SERVICES="elasticsearch logstash kibana filebeat"
# Lifetime of the stack's private authority and its certificates. To renew them, remove the volume and start again.
DAYS=3650

fail() {
    echo "logging setup: $1" >&2
    exit 1
}

# Prints DER's length octets for a number of bytes, in hexadecimal.
der_length() {
    if [ "$1" -lt 128 ]; then
        printf '%02x' "$1"
    elif [ "$1" -lt 256 ]; then
        printf '81%02x' "$1"
    else
        printf '82%04x' "$1"
    fi
}

# Converts an RSA key from PKCS#1, which certutil writes, to PKCS#8, which Logstash needs. (The image has no openssl.)
pkcs8() {
    local key inner
    key=$(grep -v -e '-----' | base64 -d | od -An -v -tx1 | tr -d ' \n')
    # Version 0, rsaEncryption without parameters, and the key as an octet string.
    inner="020100300d06092a864886f70d010101050004$(der_length $((${#key} / 2)))$key"
    echo "-----BEGIN PRIVATE KEY-----"
    # shellcheck disable=SC2059 # the format is the bytes
    printf "$(printf '30%s%s' "$(der_length $((${#inner} / 2)))" "$inner" | sed 's/../\\x&/g')" | base64 -w 64
    echo "-----END PRIVATE KEY-----"
}

certificates() {
    local work=/tmp/certificates service
    if [ -e "$CERTIFICATES/complete" ]; then
        echo "logging setup: the certificates already exist"
        return
    fi
    rm -rf "$work" && mkdir "$work"
    elasticsearch-certutil ca --silent --pem --days "$DAYS" --out "$work/ca.zip"
    unzip -q "$work/ca.zip" -d "$work"
    {
        echo "instances:"
        for service in $SERVICES; do
            printf '  - name: %s\n    dns: [%s, localhost]\n    ip: [127.0.0.1]\n' "$service" "$service"
        done
    } >"$work/instances.yml"
    elasticsearch-certutil cert --silent --pem --days "$DAYS" --in "$work/instances.yml" --out "$work/services.zip" \
        --ca-cert "$work/ca/ca.crt" --ca-key "$work/ca/ca.key"
    unzip -q "$work/services.zip" -d "$work"
    for service in $SERVICES; do
        mkdir -p "$CERTIFICATES/$service"
        cp "$work/$service/$service.crt" "$work/$service/$service.key" "$CERTIFICATES/$service/"
    done
    if grep -q 'BEGIN RSA PRIVATE KEY' "$work/logstash/logstash.key"; then
        pkcs8 <"$work/logstash/logstash.key" >"$CERTIFICATES/logstash/logstash.pkcs8.key"
    else
        cp "$work/logstash/logstash.key" "$CERTIFICATES/logstash/logstash.pkcs8.key"
    fi
    # Delete the authority's key, so that nobody can sign with it again.
    mkdir -p "$CERTIFICATES/ca" && cp "$work/ca/ca.crt" "$CERTIFICATES/ca/"
    # Elastic's images run as user 1000 in group 0.
    chown -R 1000:0 "$CERTIFICATES"
    find "$CERTIFICATES" -type d -exec chmod 0750 {} +
    find "$CERTIFICATES" -type f -exec chmod 0440 {} +
    rm -rf "$work"
    touch "$CERTIFICATES/complete"
    echo "logging setup: certificates made"
}

# Prints a secret. It goes into JSON and curl's config file, so it must not contain characters special to either.
secret() {
    local file="$SECRETS/$1" value
    [ -r "$file" ] || fail "the secret $1 cannot be read: make it, and see that this container may read it"
    value=$(<"$file")
    [[ "$value" =~ ^[A-Za-z0-9._~-]{16,200}$ ]] ||
        fail "the secret $1 must be 16 to 200 letters, digits, or any of . _ ~ -"
    printf '%s' "$value"
}

# call METHOD PATH: sends the body from standard input; curl reads the login from a file.
call() {
    curl --silent --show-error --fail-with-body --max-time 30 --output /dev/null \
        --cacert "$CERTIFICATES/ca/ca.crt" --config /tmp/login \
        --request "$1" --header 'Content-Type: application/json' --data-binary @- "$ELASTICSEARCH$2"
}

put_role() {
    call PUT "/_security/role/$1" <"$HERE/roles/$1.json"
}

# user NAME ROLE SECRET
put_user() {
    local password
    password=$(secret "$3")
    printf '{"password":"%s","roles":["%s"]}' "$password" "$2" | call PUT "/_security/user/$1"
}

users() {
    local password
    password=$(secret elastic_password)
    printf 'user = "elastic:%s"\n' "$password" >/tmp/login
    call GET /_security/_authenticate </dev/null ||
        fail "Elasticsearch refuses elastic_password, which counts with a new volume only: put the old one back."
    password=$(secret kibana_system_password)
    printf '{"password":"%s"}' "$password" | call POST /_security/user/kibana_system/_password
    put_role logstash_internal
    put_role logs_reader
    put_user logstash_internal logstash_internal logstash_internal_password
    put_user operator logs_reader logs_operator_password
    call PUT /_index_template/logs-chatbot <"$HERE/index-template.json"
    # A stream of an earlier version keeps its own retention, so set it there too.
    printf '{"data_retention":"30d"}' | call PUT '/_data_stream/logs-chatbot-*/_lifecycle' ||
        echo "logging setup: no stream yet"
    rm -f /tmp/login
    echo "logging setup: users, roles and the template of the stream are ready"
}

main() {
    case "${1:-}" in
        certificates) certificates ;;
        users) users ;;
        *) fail "say certificates or users" ;;
    esac
}

# Skip this when a test sources the file for its functions (tests/logs/test_setup.py).
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    main "$@"
fi
