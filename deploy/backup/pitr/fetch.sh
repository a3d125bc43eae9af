#!/usr/bin/env bash
# PostgreSQL's restore_command: fetches one WAL segment. Exit code 1 means that there is none (the end of the archive).
#   fetch.sh NAME PATH
set -Eeuo pipefail
umask 077
from=$NARU_PITR_DIR/wal/$1.enc
[ -e "$from" ] || exit 1
openssl enc -d -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass "file:$NARU_BACKUP_KEY_FILE" -in "$from" -out "$2.naru"
mv "$2.naru" "$2"
