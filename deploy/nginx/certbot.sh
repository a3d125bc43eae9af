#!/bin/sh
# Asks for the certificate of NARU_DOMAIN over http://NARU_DOMAIN/.well-known/acme-challenge/ and renews it. Looked at
# twice a day: when to renew is certbot's to know (certificates live for ever shorter times). nginx takes it by itself.
set -eu
store=${NARU_CERTIFICATES:-/var/lib/naru}
[ -n "${NARU_DOMAIN:-}" ] || { echo "certbot: NARU_DOMAIN is not set in .env: a certificate is for a name" >&2; exit 1; }
if [ -n "${NARU_EMAIL:-}" ]; then contact="--email $NARU_EMAIL"; else contact=--register-unsafely-without-email; fi
trap 'exit 0' TERM INT
while :; do
    # shellcheck disable=SC2086 # two words where there is an address
    certbot certonly --non-interactive --agree-tos $contact --keep-until-expiring --cert-name naru -d "$NARU_DOMAIN" \
        --webroot -w "$store/acme" --server "${NARU_ACME_SERVER:-https://acme-v02.api.letsencrypt.org/directory}" \
        --config-dir "$store/letsencrypt" --work-dir /tmp/certbot --logs-dir /tmp/certbot-logs --max-log-backups 5 \
        && wait_seconds=${NARU_CERTBOT_SECONDS:-43200} \
        || { wait_seconds=3600; echo "certbot: no certificate; tried again in an hour. Does $NARU_DOMAIN lead to this machine's port 80?" >&2; }
    sleep "$wait_seconds" &
    wait $!
done
