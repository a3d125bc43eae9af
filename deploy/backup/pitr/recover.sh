#!/usr/bin/env bash
# Makes a data folder that recovers to a moment when PostgreSQL is started on it. Touches no other folder.
#   recover.sh "2026-11-25 03:14:00+00" FOLDER     FOLDER is new or empty
# NARU_PITR_DIR and NARU_BACKUP_KEY_FILE as in archive.sh; both also when PostgreSQL is started.
set -Eeuo pipefail
umask 077
moment=$1
folder=$2
here=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd -P)
cipher=(openssl enc -d -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

latest=$(date -u -d "$moment" +%Y%m%dT%H%M%SZ)
base=
newest=
for path in "$NARU_PITR_DIR"/base/base-*.tar.enc; do
    [ -e "$path" ] || continue
    if [[ $path =~ Z-([0-9]{8}T[0-9]{6}Z)\.tar\.enc$ ]]; then
        ended=${BASH_REMATCH[1]}
    else # of a time when names had no end: after the end nothing was written to it
        ended=$(date -u -d "@$(($(stat -c %Y "$path") + 1))" +%Y%m%dT%H%M%SZ)
    fi
    # What was written while it ran has to be replayed before its files fit together: the way back begins at its end.
    if ! [[ $ended > $latest ]] && [[ $ended > $newest ]]; then
        base=$path newest=$ended
    fi
done
[ -n "$base" ] || { echo "naru: no base backup in $NARU_PITR_DIR had ended by $moment" >&2; exit 1; }
mkdir -p "$folder"
[ -z "$(ls -A "$folder")" ] || { echo "naru: $folder is not empty: name a new folder" >&2; exit 1; }

"${cipher[@]}" -in "$base" | tar --extract --no-same-owner --file=- --directory="$folder"
# Every file against the checksum that the server gave it. (The one of the wheel that `./naru up` brings does not start.)
if [ -n "$(pg_verifybackup --version 2> /dev/null || true)" ]; then
    pg_verifybackup --quiet --no-parse-wal "$folder"
fi
cat >> "$folder/postgresql.auto.conf" << CONF
restore_command = '"$here/fetch.sh" "%f" "%p"'
recovery_target_time = '$moment'
recovery_target_action = 'promote'
CONF
touch "$folder/recovery.signal"
chmod 700 "$folder"
echo "$folder recovers from $(basename "$base") to $moment when PostgreSQL is started on it"
