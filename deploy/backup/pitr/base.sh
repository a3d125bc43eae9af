#!/usr/bin/env bash
# A base backup: all files of the server, from which the WAL is replayed. Weekly is enough; daily recovers faster.
# Where the server is and who asks comes from PGHOST, PGPORT, PGUSER and PGPASSWORD (or PGPASSFILE), as for psql; the
# user needs the right REPLICATION. NARU_PITR_DIR and NARU_BACKUP_KEY_FILE as in archive.sh.
# It is named base-BEGIN-END.tar.enc: recover.sh goes by the end, and by the clock of the machine that this runs on.
set -Eeuo pipefail
umask 077
began=$(date -u +%Y%m%dT%H%M%SZ)
to=$NARU_PITR_DIR/base/base-$began
cipher=(openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

mkdir -p "$NARU_PITR_DIR/base"
exec 9> "$NARU_PITR_DIR/base/.lock"
flock --nonblock 9 || { echo "naru: another base backup is being made in $NARU_PITR_DIR" >&2; exit 1; }
rm -f "$NARU_PITR_DIR"/base/*.partial
trap 'rm -f "$to.partial" "$to.list"' EXIT

pg_basebackup --pgdata=- --format=tar --wal-method=fetch --checkpoint=fast --no-password --label="base-$began" \
    | "${cipher[@]}" > "$to.partial"
ended=$(date -u -d '1 second' +%Y%m%dT%H%M%SZ) # never earlier than it was
# Read back to its end; the server writes the manifest last.
"${cipher[@]}" -d -in "$to.partial" | tar --list --file=- > "$to.list"
grep -qx backup_manifest "$to.list" || { echo "naru: the base backup is not whole" >&2; exit 1; }
sync "$to.partial"
mv "$to.partial" "$to-$ended.tar.enc"
sync "$NARU_PITR_DIR/base"
echo "$to-$ended.tar.enc"
