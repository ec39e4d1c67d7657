-- requires: timescaledb
-- Seven days a chunk: the indexes of the running week stay in memory, and retention drops whole weeks.
SELECT create_hypertable('positions', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('readings', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('statics', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('ais_messages', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('receptions', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, migrate_data => true);
