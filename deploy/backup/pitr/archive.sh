#!/usr/bin/env bash
# PostgreSQL's archive_command: one finished segment of the WAL, encrypted; it has its name only when it is whole.
#   archive.sh PATH NAME     (archive.sql sets it)
# In the server's environment: NARU_PITR_DIR, a folder on another disk than the data, and NARU_BACKUP_KEY_FILE.
set -Eeuo pipefail
umask 077
from=$1
to=$NARU_PITR_DIR/wal/$2.enc
cipher=(openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

mkdir -p "$NARU_PITR_DIR/wal"
if [ -e "$to" ]; then
    # After a crash the server may hand over a segment once more. Another one of the same name is never replaced: two
    # servers would archive into one folder, and neither could be recovered.
    "${cipher[@]}" -d -in "$to" | cmp --silent - "$from" && exit 0
    echo "naru: $to is there already and is another one: give each server a NARU_PITR_DIR of its own" >&2
    exit 1
fi
"${cipher[@]}" -in "$from" -out "$to.partial"
sync "$to.partial"
mv "$to.partial" "$to"
sync "$NARU_PITR_DIR/wal"
