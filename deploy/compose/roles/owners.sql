-- Give naru the tables that the superuser owns. Indexes and a table's own sequences follow their table; the tables of an
-- extension stay.
SELECT format('ALTER TABLE public.%I OWNER TO naru', relname) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S')
   AND NOT EXISTS (
       SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
          AND (deptype = 'e' OR relkind = 'S' AND deptype IN ('a', 'i'))
   ) \gexec
