#!/usr/bin/env bash
# Makes a data folder that recovers to a given moment when PostgreSQL starts on it. Touches no other folder.
#   recover.sh "2026-11-25 03:14:00+00" FOLDER     FOLDER is new or empty
# NARU_PITR_DIR and NARU_BACKUP_KEY_FILE are those of archive.sh. PostgreSQL needs both when it starts, too.
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
    else # an old name without END: use the time of the last write
        ended=$(date -u -d "@$(($(stat -c %Y "$path") + 1))" +%Y%m%dT%H%M%SZ)
    fi
    # The files are consistent only once the WAL up to END is replayed, so a recovery cannot stop before END.
    if ! [[ $ended > $latest ]] && [[ $ended > $newest ]]; then
        base=$path newest=$ended
    fi
done
[ -n "$base" ] || { echo "naru: no base backup in $NARU_PITR_DIR had ended by $moment" >&2; exit 1; }
mkdir -p "$folder"
[ -z "$(ls -A "$folder")" ] || { echo "naru: $folder is not empty. Name a new folder" >&2; exit 1; }

"${cipher[@]}" -in "$base" | tar --extract --no-same-owner --file=- --directory="$folder"
# Check every file against the server's checksum. (The pg_verifybackup in the wheel of `./naru up` does not start.)
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
