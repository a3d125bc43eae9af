#!/bin/sh
# Make or correct the database's roles: compose's service `roles`, at every `up` (decision 0022). A second run changes
# nothing. PGHOST and PGPORT name the server, as for psql; SUPERUSER_PASSWORD_FILE, NARU_PASSWORD_FILE and
# MONITOR_PASSWORD_FILE name the files of the passwords.
set -eu
here=$(dirname "$0")

fail() {
    printf 'roles: %s\n' "$1" >&2
    exit 1
}

password() { # print the password in the file $1
    value=$(cat "$1") || value=
    [ -n "$value" ] || fail "$1 is empty or cannot be read: ./naru compose setup makes the file of this name in secrets/"
    printf %s "$value"
}

ask() { # run the query $3 as the role $1 with the password $2
    PGUSER=$1 PGPASSWORD=$2 psql -XAtqc "$3"
}

setting() { # set $1 to the password $2 through PGOPTIONS, which keeps it out of statements, logs and command lines
    printf -- '-c %s=' "$1"
    printf %s "$2" | sed 's/[\\[:space:]]/\\&/g'
}

superuser=$(password "$SUPERUSER_PASSWORD_FILE")
naru=$(password "$NARU_PASSWORD_FILE")
monitor=$(password "$MONITOR_PASSWORD_FILE")
export PGDATABASE=naru PGCONNECT_TIMEOUT=10
# naru owns the database: nothing that it defines or sets there may change what the superuser's statements mean.
export PGOPTIONS="-c search_path=pg_catalog -c role=none"

if said=$(ask postgres "$superuser" 'SELECT 1' 2>&1); then
    export PGUSER=postgres PGPASSWORD="$superuser"
elif [ "$(ask naru "$naru" 'SELECT oid = 10 FROM pg_roles WHERE rolname = current_user' 2>/dev/null)" = t ]; then
    echo "roles: the superuser of this volume is called naru: it becomes postgres, and naru an ordinary role"
    export PGUSER=naru PGPASSWORD="$naru"
else
    fail "the superuser does not get in: $said
       Where PostgreSQL has another password for it than the file, give it that of secrets/postgres_superuser_password:
       docker compose exec postgres psql -U postgres -c '\\password'"
fi

# Do not wait long for a locked table: all later sessions would wait behind this one.
PGOPTIONS="$PGOPTIONS -c lock_timeout=10s -c client_min_messages=warning $(setting naru.superuser_password "$superuser")"
PGOPTIONS="$PGOPTIONS $(setting naru.password "$naru") $(setting naru.monitor_password "$monitor")"
export PGOPTIONS
run() {
    psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=terse --single-transaction "$@"
}
run -f "$here/roles.sql" -f "$here/owners.sql"

# Sessions that began as naru before it was recreated still have the superuser's rights. End them all; web and workers
# reconnect as after a restart of the server. If an earlier run ended just before this step, end only the sessions with
# our processes' names, because a person may be connected as the superuser by now.
left="application_name LIKE 'naru-%'"
if [ "$PGUSER" = naru ]; then
    export PGUSER=postgres PGPASSWORD="$superuser"
    left=true
fi
psql -XAtqc "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usesysid = 10 AND pid <> pg_backend_pid() AND $left" >/dev/null
# The databases that restores have kept, for going back. A half-dropped one accepts no connection.
kept=$(psql -XAtqc "SELECT datname FROM pg_database WHERE datdba = 'naru'::regrole AND datallowconn AND datconnlimit <> -2
    AND datname ~ '^naru_(before|undone|restoring|drill)_\\d{8}T\\d{9}Z\$'")
for database in $kept; do
    PGDATABASE=$database run -f "$here/owners.sql"
done
echo "roles: naru owns the database, naru_monitor watches, postgres is the superuser"
