-- requires: tsl
-- transaction: none
-- Continuous aggregates in place of the views of 0003, and columnar compression of weeks gone by. Each statement can be
-- run again: outside a transaction, a failure half-way leaves the first half done.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_views WHERE schemaname = current_schema() AND viewname = 'readings_hourly')
       AND NOT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates WHERE view_name = 'readings_hourly') THEN
        DROP VIEW readings_hourly;
    END IF;
    IF EXISTS (SELECT FROM pg_views WHERE schemaname = current_schema() AND viewname = 'positions_hourly')
       AND NOT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates WHERE view_name = 'positions_hourly') THEN
        DROP VIEW positions_hourly;
    END IF;
END
$$;

CREATE MATERIALIZED VIEW IF NOT EXISTS readings_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket(INTERVAL '1 hour', time) AS bucket,
    device_id,
    metric_id,
    count(*) AS samples,
    avg(value) AS mean,
    min(value) AS minimum,
    max(value) AS maximum
FROM readings
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS positions_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket(INTERVAL '1 hour', time) AS bucket,
    transponder_id,
    count(*) AS samples,
    min(time) AS first_time,
    max(time) AS last_time,
    avg(sog) AS mean_sog,
    max(sog) AS max_sog,
    min(lon) AS min_lon,
    max(lon) AS max_lon,
    min(lat) AS min_lat,
    max(lat) AS max_lat
FROM positions
GROUP BY 1, 2
WITH NO DATA;

-- A month back: gateways that were offline send bursts of old data.
SELECT add_continuous_aggregate_policy('readings_hourly', start_offset => INTERVAL '1 month', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes', if_not_exists => true);
SELECT add_continuous_aggregate_policy('positions_hourly', start_offset => INTERVAL '1 month', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes', if_not_exists => true);

ALTER TABLE positions SET (timescaledb.compress, timescaledb.compress_segmentby = 'transponder_id', timescaledb.compress_orderby = 'time, digest');
ALTER TABLE readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'device_id, metric_id', timescaledb.compress_orderby = 'time');
ALTER TABLE statics SET (timescaledb.compress, timescaledb.compress_segmentby = 'transponder_id', timescaledb.compress_orderby = 'time, digest');
ALTER TABLE ais_messages SET (timescaledb.compress, timescaledb.compress_segmentby = 'transponder_id', timescaledb.compress_orderby = 'time, digest');
ALTER TABLE receptions SET (timescaledb.compress, timescaledb.compress_segmentby = 'transponder_id', timescaledb.compress_orderby = 'time, digest, source_id');
SELECT add_compression_policy('positions', INTERVAL '30 days', if_not_exists => true);
SELECT add_compression_policy('readings', INTERVAL '30 days', if_not_exists => true);
SELECT add_compression_policy('statics', INTERVAL '30 days', if_not_exists => true);
SELECT add_compression_policy('ais_messages', INTERVAL '30 days', if_not_exists => true);
SELECT add_compression_policy('receptions', INTERVAL '30 days', if_not_exists => true);

COMMENT ON VIEW readings_hourly IS 'Readings by the hour of UTC; values in the unit of metrics.unit.';
COMMENT ON VIEW positions_hourly IS 'Positions by the hour of UTC: knots, and the box of degrees that the transponder stayed in.';
