-- Naru's roles, in one transaction with owners.sql. The passwords come as settings of the session (make.sh).

-- In a volume of an earlier version the role that initdb made (always oid 10) is called naru, and PostgreSQL does not let
-- it be anything but a superuser. So rename it, with another password, and make naru anew below. No session can rename
-- its own role, so a temporary role does it.
SELECT rolname = 'naru' AS is_from_before FROM pg_roles WHERE oid = 10 \gset
\if :is_from_before
    CREATE ROLE naru_in_between SUPERUSER;
    SET SESSION AUTHORIZATION naru_in_between;
    ALTER ROLE naru RENAME TO postgres;
    RESET SESSION AUTHORIZATION;
    DROP ROLE naru_in_between;
    DO $$ BEGIN
        EXECUTE format('ALTER ROLE postgres PASSWORD %L', current_setting('naru.superuser_password'));
    END $$;
\endif

DO $$ BEGIN
    IF to_regrole('naru') IS NULL THEN CREATE ROLE naru; END IF;
    IF to_regrole('naru_monitor') IS NULL THEN CREATE ROLE naru_monitor; END IF;
    EXECUTE format('ALTER ROLE naru PASSWORD %L', current_setting('naru.password'));
    EXECUTE format('ALTER ROLE naru_monitor PASSWORD %L', current_setting('naru.monitor_password'));
END $$;
-- A restore makes a database and ends all connections to the old one, the monitor's too, before it renames both.
ALTER ROLE naru LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT pg_signal_backend TO naru;
ALTER ROLE naru_monitor LOGIN NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT pg_monitor TO naru_monitor;

-- Naru's database, and those that restores have kept (deploy/backup/swap.py names them).
SELECT format('ALTER DATABASE %I OWNER TO naru', datname) FROM pg_database
 WHERE datdba = 10 AND (datname = 'naru' OR datname ~ '^naru_(before|undone|restoring|drill)_\d{8}T\d{9}Z$') \gexec
