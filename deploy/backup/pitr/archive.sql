-- Turns WAL archiving on: psql -v script=/naru/pitr/archive.sh -f archive.sql, then restart the server once.
-- A segment is archived when it is full, and after five minutes at the latest. That much can be lost with the machine.
\set command '"' :script '" "%p" "%f"'
ALTER SYSTEM SET wal_level = 'replica';
ALTER SYSTEM SET archive_mode = 'on';
ALTER SYSTEM SET archive_timeout = '5min';
ALTER SYSTEM SET archive_command = :'command';
