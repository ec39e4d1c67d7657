#!/bin/sh
# Run once, when the database is made: the group roles of storage/roles.py, and who logs in as which.
# psql reads the passwords itself and quotes them: they are in no command line.
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set service `cat /run/secrets/db_service_password`
\set grafana `cat /run/secrets/grafana_db_password`

-- TimescaleDB runs policies as the owner of the table, and wants that owner to have LOGIN. It has no password, so
-- nobody logs in as it.
CREATE ROLE haidang_migrator LOGIN PASSWORD NULL;
CREATE ROLE haidang_writer NOLOGIN;
CREATE ROLE haidang_reader NOLOGIN;

CREATE USER ingest PASSWORD :'service' IN ROLE haidang_writer;
-- Retention drops chunks, which only their owner may: the service can become it, and is not it otherwise.
GRANT haidang_migrator TO ingest WITH INHERIT FALSE, SET TRUE;

CREATE USER grafana PASSWORD :'grafana' IN ROLE haidang_reader;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';

SELECT current_database() AS database \gset
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO ingest, haidang_migrator;
GRANT CONNECT ON DATABASE :"database" TO grafana;
SQL
