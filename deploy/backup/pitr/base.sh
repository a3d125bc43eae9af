#!/usr/bin/env bash
# A base backup: all files of the server, from which the WAL is replayed. Weekly is enough; daily recovers faster.
# Where the server is and who asks comes from PGHOST, PGPORT, PGUSER and PGPASSWORD (or PGPASSFILE), as for psql; the
# user needs the right REPLICATION. NARU_PITR_DIR and NARU_BACKUP_KEY_FILE as in archive.sh.
set -Eeuo pipefail
umask 077
name=base-$(date -u +%Y%m%dT%H%M%SZ)
to=$NARU_PITR_DIR/base/$name.tar.enc
cipher=(openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

mkdir -p "$NARU_PITR_DIR/base"
exec 9> "$NARU_PITR_DIR/base/.lock"
flock --nonblock 9 || { echo "naru: another base backup is being made in $NARU_PITR_DIR" >&2; exit 1; }
rm -f "$NARU_PITR_DIR"/base/*.partial
trap 'rm -f "$to.partial" "$to.list"' EXIT

pg_basebackup --pgdata=- --format=tar --wal-method=fetch --checkpoint=fast --no-password --label="$name" \
    | "${cipher[@]}" > "$to.partial"
# Read back to its end; the server writes the manifest last.
"${cipher[@]}" -d -in "$to.partial" | tar --list --file=- > "$to.list"
grep -qx backup_manifest "$to.list" || { echo "naru: the base backup is not whole" >&2; exit 1; }
sync "$to.partial"
mv "$to.partial" "$to"
sync "$NARU_PITR_DIR/base"
echo "$to"
