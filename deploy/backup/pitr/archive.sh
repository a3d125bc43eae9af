#!/usr/bin/env bash
# PostgreSQL's archive_command: encrypts one finished WAL segment. The file gets its name only when it is complete.
#   archive.sh PATH NAME     (archive.sql sets it)
# The server's environment must have NARU_PITR_DIR, a folder on another disk than the data, and NARU_BACKUP_KEY_FILE.
set -Eeuo pipefail
umask 077
from=$1
to=$NARU_PITR_DIR/wal/$2.enc
cipher=(openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE")

mkdir -p "$NARU_PITR_DIR/wal"
if [ -e "$to" ]; then
    # After a crash the server may archive a segment again. A different segment with the same name is never replaced: it
    # means that two servers archive into one folder, and neither could be recovered.
    "${cipher[@]}" -d -in "$to" | cmp --silent - "$from" && exit 0
    echo "naru: $to already exists with other contents. Give each server its own NARU_PITR_DIR" >&2
    exit 1
fi
"${cipher[@]}" -in "$from" -out "$to.partial"
sync "$to.partial"
mv "$to.partial" "$to"
sync "$NARU_PITR_DIR/wal"
