#!/usr/bin/env bash
# Starts Elasticsearch, Logstash or Kibana with its password from /run/secrets: their images read none of these files
# themselves (or want them with a mode that compose cannot give), and what stands in `environment:` everyone can inspect.
set -Eeuo pipefail
umask 077

secret() {
    [ -r "/run/secrets/$1" ] || {
        echo "start: the secret $1 cannot be read: make it, and see that this container may read it" >&2
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
        # Not by environment: the image makes command line options of it.
        cd /usr/share/kibana
        rm -f config/kibana.keystore
        bin/kibana-keystore create
        secret kibana_system_password | bin/kibana-keystore add elasticsearch.password --stdin
        secret kibana_encryption_key | bin/kibana-keystore add xpack.encryptedSavedObjects.encryptionKey --stdin
        secret kibana_encryption_key | bin/kibana-keystore add xpack.security.encryptionKey --stdin
        exec /usr/local/bin/kibana-docker
        ;;
    *)
        echo "start: say elasticsearch, logstash or kibana" >&2
        exit 1
        ;;
esac
