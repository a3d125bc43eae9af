#!/bin/sh
# Starts nginx: copies its files to a folder, writes the settings of this machine, provides a certificate, and reloads
# nginx when certbot has renewed it. Runs as an ordinary user on a read-only root.
#
#   NARU_DOMAIN         the site's name; empty: answer to any name (a first try, a test)
#   NARU_HTTP_PORT      the public HTTP port; NARU_HTTPS_PORT: the public HTTPS port, for the redirect
#   NARU_HSTS_SECONDS   how long a browser remembers to use TLS only; 0: not at all
#   NARU_FLOWER_ALLOW   networks that may see /flower/ and /grafana/, comma-separated
#   NARU_TRUSTED_PROXIES  networks of a load balancer whose X-Forwarded-For is trusted; empty: there is none
#   NARU_NGINX_SOCKETS  limit of open WebSockets per address, one for each open page; NARU_NGINX_STREAMS: of live
#                       streams, one for each visible page; NARU_NGINX_CONNECTIONS: of all connections; 0: no limit
set -eu
umask 027
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
run=${NARU_RUN:-/run/naru}
store=${NARU_CERTIFICATES:-/var/lib/naru}
domain=${NARU_DOMAIN:-}
https_port=${NARU_HTTPS_PORT:-443}
# The ports that nginx listens on. An ordinary user cannot use those below 1024.
http=${NARU_LISTEN_HTTP:-8080} https=${NARU_LISTEN_HTTPS:-8443} health=${NARU_LISTEN_HEALTH:-127.0.0.1:8079}

fail() {
    echo "nginx: $1" >&2
    exit 1
}

case $domain in *[!A-Za-z0-9.-]*) fail "NARU_DOMAIN is $domain, which is no name: give one, as chat.example.org" ;; esac
for port in "${NARU_HTTP_PORT:-80}" "$https_port"; do
    case $port in '' | *[!0-9]*) fail "$port is no port: look at NARU_HTTP_PORT and NARU_HTTPS_PORT" ;; esac
done

mkdir -p "$run/made" "$run/temp" "$store/acme/.well-known/acme-challenge"
cp "$here"/*.conf "$run/"
ln -sfn "$store/acme" "$run/acme"
made=$run/made

# nginx 1.25.1 introduced a directive for HTTP/2 and warns about the old form.
if printf '%s\n1.25.1\n' "$(nginx -v 2>&1 | sed 's/.*nginx\/\([0-9.]*\).*/\1/')" | sort -V | head -n 1 | grep -qx 1.25.1; then
    http2_flag='' http2_line='http2 on;'
else
    http2_flag=' http2' http2_line=''
fi

echo "listen $http default_server;" >"$made/listen_http.conf"
echo "listen $health;" >"$made/listen_health.conf"
if [ -n "$domain" ]; then
    printf 'listen %s ssl%s;\n%s\nserver_name %s;\n' "$https" "$http2_flag" "$http2_line" "$domain" >"$made/listen_https.conf"
    # Requests for another name or the bare address get no certificate and no page.
    printf 'server {\n    listen %s ssl%s default_server;\n    ssl_reject_handshake on;\n}\n' "$https" "$http2_flag" >"$made/servers.conf"
else
    printf 'listen %s ssl%s default_server;\n%s\n' "$https" "$http2_flag" "$http2_line" >"$made/listen_https.conf"
    : >"$made/servers.conf"
fi
[ "$https_port" = 443 ] && suffix='' || suffix=":$https_port"
echo "return 301 https://${domain:-\$host}$suffix\$request_uri;" >"$made/redirect.conf"
echo "resolver ${NARU_RESOLVER:-127.0.0.11} valid=1s ipv6=off; resolver_timeout 5s;" >"$made/resolver.conf"
{
    echo "set \$naru_web http://${NARU_WEB:-web:8501};"
    echo "set \$naru_flower http://${NARU_FLOWER:-flower:5555};"
    echo "set \$naru_grafana http://${NARU_GRAFANA:-grafana:3000};"
} >"$made/upstreams.conf"

hsts=${NARU_HSTS_SECONDS:-63072000}
case $hsts in *[!0-9]*) fail "NARU_HSTS_SECONDS is $hsts, which is no number of seconds" ;; esac
: >"$made/hsts.conf"
[ "$hsts" = 0 ] || echo "add_header Strict-Transport-Security \"max-age=$hsts\" always;" >"$made/hsts.conf"

: >"$made/flower_allow.conf"
for network in $(echo "${NARU_FLOWER_ALLOW:-127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16}" | tr ',' ' '); do
    case $network in *[!0-9a-fA-F.:/]*) fail "NARU_FLOWER_ALLOW names $network, which is no network: give addresses as 10.0.0.0/8" ;; esac
    echo "allow $network;" >>"$made/flower_allow.conf"
done

# Behind a load balancer, every request would have its address. X-Forwarded-For is trusted only from these networks.
: >"$made/real_ip.conf"
for network in $(echo "${NARU_TRUSTED_PROXIES:-}" | tr ',' ' '); do
    case $network in *[!0-9a-fA-F.:/]*) fail "NARU_TRUSTED_PROXIES names $network, which is no network: give addresses as 10.0.0.0/8" ;; esac
    echo "set_real_ip_from $network;" >>"$made/real_ip.conf"
done
[ ! -s "$made/real_ip.conf" ] || printf 'real_ip_header X-Forwarded-For;\nreal_ip_recursive on;\n' >>"$made/real_ip.conf"

limit_open() { # variable, zone, number
    case $3 in *[!0-9]*) fail "$1 is $3, which is no number" ;; esac
    : >"$made/$2.conf"
    [ "$3" = 0 ] || echo "limit_conn $2 $3;" >"$made/$2.conf"
}
limit_open NARU_NGINX_SOCKETS sockets "${NARU_NGINX_SOCKETS:-300}"
limit_open NARU_NGINX_STREAMS streams "${NARU_NGINX_STREAMS:-300}"
limit_open NARU_NGINX_CONNECTIONS connections "${NARU_NGINX_CONNECTIONS:-800}"

# Use a self-signed certificate until certbot has one: certbot needs a running nginx to get it.
if [ ! -s "$store/self-signed/fullchain.pem" ]; then
    command -v openssl >/dev/null || fail "there is no openssl in this image: use a Debian one, as nginx:1.28-bookworm"
    mkdir -p "$store/self-signed"
    name=${domain:-localhost}
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name,DNS:localhost,IP:127.0.0.1" \
        -keyout "$store/self-signed/privkey.pem.new" -out "$store/self-signed/fullchain.pem.new" 2>/dev/null \
        || fail "openssl could not make a certificate in $store/self-signed: is the volume writable for uid $(id -u)?"
    mv "$store/self-signed/privkey.pem.new" "$store/self-signed/privkey.pem"
    mv "$store/self-signed/fullchain.pem.new" "$store/self-signed/fullchain.pem"
fi

issued=$store/letsencrypt/live/naru
choose() {
    if [ -s "$issued/fullchain.pem" ] && [ -s "$issued/privkey.pem" ]; then echo "$issued"; else echo "$store/self-signed"; fi
}
state() { cat "$1/fullchain.pem" "$1/privkey.pem" | cksum; }

current=$(choose)
ln -sfn "$current" "$run/certificate"
nginx -e stderr -p "$run" -c "$run/nginx.conf" -t -q -g "daemon off; ${NARU_NGINX_DIRECTIVES:-}" || fail "the configuration is not whole; see above"

watch_certificate() {
    seen=$(state "$current")
    while sleep "${NARU_CERTIFICATE_POLL_SECONDS:-60}" && kill -0 $$ 2>/dev/null; do
        now=$(choose)
        [ "$now$(state "$now")" = "$current$seen" ] && continue
        ln -sfn "$now" "$run/certificate"
        # Reject a certificate that does not match its key, and keep the old one.
        if nginx -e stderr -p "$run" -c "$run/nginx.conf" -t -q -g "daemon off; ${NARU_NGINX_DIRECTIVES:-}"; then
            current=$now seen=$(state "$now")
            kill -HUP $$ && echo "nginx: a new certificate is in use" >&2
        else
            echo "nginx: the new certificate cannot be used; the old one stays" >&2 # and this one is checked again later
        fi
    done
}
watch_certificate &

exec nginx -e stderr -p "$run" -c "$run/nginx.conf" -g "daemon off; ${NARU_NGINX_DIRECTIVES:-}"
