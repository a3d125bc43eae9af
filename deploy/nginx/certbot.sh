#!/bin/sh
# Requests the certificate of NARU_DOMAIN over http://NARU_DOMAIN/.well-known/acme-challenge/ and renews it. It checks
# twice a day; certbot decides when to renew. nginx picks up a new certificate on its own.
set -eu
store=${NARU_CERTIFICATES:-/var/lib/naru}
[ -n "${NARU_DOMAIN:-}" ] || { echo "certbot: NARU_DOMAIN is not set. Set it in .env: a certificate needs a name" >&2; exit 1; }
if [ -n "${NARU_EMAIL:-}" ]; then contact="--email $NARU_EMAIL"; else contact=--register-unsafely-without-email; fi
trap 'exit 0' TERM INT
while :; do
    # shellcheck disable=SC2086 # expands to two words if there is an address
    certbot certonly --non-interactive --agree-tos $contact --keep-until-expiring --cert-name naru -d "$NARU_DOMAIN" \
        --webroot -w "$store/acme" --server "${NARU_ACME_SERVER:-https://acme-v02.api.letsencrypt.org/directory}" \
        --config-dir "$store/letsencrypt" --work-dir /tmp/certbot --logs-dir /tmp/certbot-logs --max-log-backups 5 \
        && wait_seconds=${NARU_CERTBOT_SECONDS:-43200} \
        || { wait_seconds=3600; echo "certbot: no certificate; trying again in an hour. Check that $NARU_DOMAIN leads to port 80 of this machine" >&2; }
    sleep "$wait_seconds" &
    wait $!
done
