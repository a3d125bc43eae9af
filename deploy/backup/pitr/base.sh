#!/usr/bin/env bash
# Makes a base backup: all files of the server, from which a recovery replays the WAL. Weekly is enough; daily recovers
# faster. It reads PGHOST, PGPORT, PGUSER and PGPASSWORD (or PGPASSFILE) as psql does; the user needs REPLICATION.
# NARU_PITR_DIR and NARU_BACKUP_KEY_FILE are those of archive.sh.
# The file is named base-BEGIN-END.tar.enc, by the clock of this machine. recover.sh goes by END.
set -Eeuo pipefail
umask 077
began=$(date -u +%Y%m%dT%H%M%SZ)
to=$NARU_PITR_DIR/base/base-$began
cipher=(openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

mkdir -p "$NARU_PITR_DIR/base"
exec 9> "$NARU_PITR_DIR/base/.lock"
flock --nonblock 9 || { echo "naru: another base backup is in progress in $NARU_PITR_DIR. Wait for it" >&2; exit 1; }
rm -f "$NARU_PITR_DIR"/base/*.partial
trap 'rm -f "$to.partial" "$to.list"' EXIT

pg_basebackup --pgdata=- --format=tar --wal-method=fetch --checkpoint=fast --no-password --label="base-$began" \
    | "${cipher[@]}" > "$to.partial"
ended=$(date -u -d '1 second' +%Y%m%dT%H%M%SZ) # rounded up, so that it is never too early
# Read the file back to its end, where the server puts the manifest.
"${cipher[@]}" -d -in "$to.partial" | tar --list --file=- > "$to.list"
grep -qx backup_manifest "$to.list" || { echo "naru: the base backup is incomplete. Try again" >&2; exit 1; }
sync "$to.partial"
mv "$to.partial" "$to-$ended.tar.enc"
sync "$NARU_PITR_DIR/base"
echo "$to-$ended.tar.enc"
