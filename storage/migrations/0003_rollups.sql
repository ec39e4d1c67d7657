-- Hourly roll-ups as plain views: right on any server, computed when asked. Where continuous aggregates are to be had,
-- 0005 puts them in the place of these, with the same names and columns.

CREATE VIEW readings_hourly AS
SELECT
    date_bin('1 hour', time, '2000-01-01T00:00:00Z') AS bucket,
    device_id,
    metric_id,
    count(*) AS samples,
    avg(value) AS mean,
    min(value) AS minimum,
    max(value) AS maximum
FROM readings
GROUP BY 1, 2, 3;
COMMENT ON VIEW readings_hourly IS 'Readings by the hour of UTC; values in the unit of metrics.unit.';

CREATE VIEW positions_hourly AS
SELECT
    date_bin('1 hour', time, '2000-01-01T00:00:00Z') AS bucket,
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
GROUP BY 1, 2;
COMMENT ON VIEW positions_hourly IS 'Positions by the hour of UTC: knots, and the box of degrees that the transponder stayed in.';
