#!/usr/bin/env bash
# Starts Elasticsearch, Logstash or Kibana with its password from /run/secrets. Their images cannot read these files (or
# want a mode that compose cannot set), and anyone can inspect the values in `environment:`.
set -Eeuo pipefail
umask 077

secret() {
    [ -r "/run/secrets/$1" ] || {
        echo "start: cannot read the secret $1. Create it, and let this container read it" >&2
        exit 1
    }
    cat "/run/secrets/$1"
}

case "${1:-}" in
    elasticsearch)
        ELASTIC_PASSWORD=$(secret elastic_password)
        export ELASTIC_PASSWORD
        exec /usr/local/bin/docker-entrypoint.sh eswrapper
        ;;
    logstash)
        LOGSTASH_INTERNAL_PASSWORD=$(secret logstash_internal_password)
        export LOGSTASH_INTERNAL_PASSWORD
        exec /usr/local/bin/docker-entrypoint
        ;;
    kibana)
        # Not through the environment: the image turns variables into command-line options.
        cd /usr/share/kibana
        rm -f config/kibana.keystore
        bin/kibana-keystore create
        secret kibana_system_password | bin/kibana-keystore add elasticsearch.password --stdin
        secret kibana_encryption_key | bin/kibana-keystore add xpack.encryptedSavedObjects.encryptionKey --stdin
        secret kibana_encryption_key | bin/kibana-keystore add xpack.security.encryptionKey --stdin
        exec /usr/local/bin/kibana-docker
        ;;
    *)
        echo "start: name elasticsearch, logstash or kibana" >&2
        exit 1
        ;;
esac
