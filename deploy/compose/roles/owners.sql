-- What the superuser owns among Naru's tables becomes naru's. Indexes and a table's own sequences go with their table;
-- what belongs to an extension stays.
SELECT format('ALTER TABLE public.%I OWNER TO naru', relname) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S')
   AND NOT EXISTS (
       SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
          AND (deptype = 'e' OR relkind = 'S' AND deptype IN ('a', 'i'))
   ) \gexec
