-- What was observed, and the dimensions that observations refer to.
--
-- Every time is timestamptz: `time` is event time, `received_at` when we heard of it. Ids are computed by the program
-- (decoders.identity), never by a sequence. The observation tables carry no foreign keys: an id always names a row
-- written in the same transaction, and a check per row would cost more than the row.
--
-- Unique keys contain the time column (a hypertable demands it), so writing a row twice changes nothing. BRIN finds
-- time ranges: rows arrive nearly in time order, and such an index costs almost nothing to keep.

CREATE TABLE sources (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL DEFAULT ''
);
COMMENT ON TABLE sources IS 'Where messages come in: a broker subscription, a receiver, a file.';

CREATE TABLE devices (
    id bigint PRIMARY KEY,
    gateway text NOT NULL,
    name text NOT NULL,
    lon double precision CHECK (lon BETWEEN -180 AND 180),
    lat double precision CHECK (lat BETWEEN -90 AND 90),
    device_group text,
    first_seen timestamptz,
    UNIQUE (gateway, name)
);
COMMENT ON TABLE devices IS 'Sensor devices; the full name is gateway/name.';
COMMENT ON COLUMN devices.lon IS 'degrees east, WGS 84; NULL while nobody has said where it stands';
COMMENT ON COLUMN devices.lat IS 'degrees north, WGS 84; NULL while nobody has said where it stands';
COMMENT ON COLUMN devices.first_seen IS 'least event time of its readings';

CREATE TABLE metrics (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    unit text,
    description text,
    low double precision,
    high double precision,
    CHECK (low <= high)
);
COMMENT ON TABLE metrics IS 'The metric catalogue: the one unit of every metric and the range its values can physically have.';
COMMENT ON COLUMN metrics.unit IS 'NULL: a metric the catalogue does not know';
COMMENT ON COLUMN metrics.low IS 'least value physically possible, inclusive, in unit';
COMMENT ON COLUMN metrics.high IS 'greatest value physically possible, inclusive, in unit';

CREATE TABLE vessels (
    id text PRIMARY KEY,
    registration_no text UNIQUE,
    name text,
    length_m real CHECK (length_m > 0),
    gear text,
    home_port text,
    owner text,
    licence_no text,
    licence_valid tstzrange,
    licence_zone text,
    properties jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE vessels IS 'Hulls, from the registry. What reports positions is a transponder; see vessel_transponders.';
COMMENT ON COLUMN vessels.length_m IS 'greatest length (Lmax), metres';

CREATE TABLE transponders (
    id bigint PRIMARY KEY,
    kind text NOT NULL,
    identifier text NOT NULL,
    mmsi integer,
    mmsi_class text,
    vessel_id text REFERENCES vessels,
    name text,
    callsign text,
    imo integer,
    ship_type smallint,
    to_bow smallint,
    to_stern smallint,
    to_port smallint,
    to_starboard smallint,
    draught real,
    destination text,
    eta text,
    static_time timestamptz,
    first_seen timestamptz,
    last_seen timestamptz
) WITH (fillfactor = 70);
CREATE INDEX transponders_identifier ON transponders (identifier);
COMMENT ON TABLE transponders IS 'What reports positions (an AIS MMSI, a VMS device), with the newest static data it sent.';
COMMENT ON COLUMN transponders.id IS 'AIS: the MMSI. Others: a hash of kind and identifier';
COMMENT ON COLUMN transponders.mmsi_class IS 'who transmits, by the form of the MMSI (ITU-R M.585): ship, base_station, aton, ...';
COMMENT ON COLUMN transponders.vessel_id IS 'the vessel it is registered to; where it really was, and when: vessel_transponders';
COMMENT ON COLUMN transponders.ship_type IS 'raw code 0..255 of ITU-R M.1371-5 table 53';
COMMENT ON COLUMN transponders.to_bow IS 'metres from the reference point';
COMMENT ON COLUMN transponders.to_stern IS 'metres from the reference point';
COMMENT ON COLUMN transponders.to_port IS 'metres from the reference point';
COMMENT ON COLUMN transponders.to_starboard IS 'metres from the reference point';
COMMENT ON COLUMN transponders.draught IS 'metres; 25.5 means 25.5 or more';
COMMENT ON COLUMN transponders.eta IS 'MM-DDTHH:MMZ as sent: AIS carries no year; unavailable parts are --';
COMMENT ON COLUMN transponders.static_time IS 'event time of the newest static data; older data arriving later does not override it';
COMMENT ON COLUMN transponders.first_seen IS 'least event time of anything it sent';
COMMENT ON COLUMN transponders.last_seen IS 'greatest event time of anything it sent';

CREATE TABLE vessel_transponders (
    vessel_id text NOT NULL REFERENCES vessels,
    transponder_id bigint NOT NULL REFERENCES transponders,
    valid tstzrange NOT NULL CHECK (NOT isempty(valid)),
    note text,
    PRIMARY KEY (vessel_id, transponder_id, valid)
);
COMMENT ON TABLE vessel_transponders IS
    'Which vessel carried which transponder, when. Nothing is exclusive: one hull with two beacons, and one beacon on the wrong hull, can be said.';
CREATE INDEX vessel_transponders_transponder ON vessel_transponders (transponder_id);

CREATE TABLE positions (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    transponder_id bigint NOT NULL,
    digest bigint NOT NULL,
    source_id bigint NOT NULL,
    lon double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    lat double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    sog double precision,
    cog double precision,
    altitude double precision,
    rot real,
    heading smallint,
    nav_status smallint,
    accuracy smallint,
    msg_type smallint NOT NULL,
    PRIMARY KEY (transponder_id, time, digest)
);
COMMENT ON TABLE positions IS 'Position reports; one row per transmission, however many receivers heard it.';
COMMENT ON COLUMN positions.digest IS 'digest of what was transmitted: the same transmission heard twice has the same one';
COMMENT ON COLUMN positions.source_id IS 'who heard it first; who else did: receptions';
COMMENT ON COLUMN positions.lon IS 'degrees east, WGS 84';
COMMENT ON COLUMN positions.lat IS 'degrees north, WGS 84';
COMMENT ON COLUMN positions.sog IS 'speed over ground, knots; 102.2 means 102.2 or more';
COMMENT ON COLUMN positions.cog IS 'course over ground, degrees true [0, 360)';
COMMENT ON COLUMN positions.altitude IS 'metres, SAR aircraft only; 4094 means 4094 or more';
COMMENT ON COLUMN positions.rot IS 'rate of turn, degrees per minute, + is to starboard; +-720 means more than 708';
COMMENT ON COLUMN positions.heading IS 'degrees true [0, 359]';
COMMENT ON COLUMN positions.nav_status IS 'navigational status 0..14 of ITU-R M.1371-5 table 48';
COMMENT ON COLUMN positions.accuracy IS '1: better than 10 m; 0: worse; NULL: not reported';
COMMENT ON COLUMN positions.msg_type IS 'AIS message 1..27; 0: not AIS';
CREATE INDEX positions_time ON positions USING brin (time, received_at) WITH (autosummarize = on);

CREATE TABLE readings (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    device_id bigint NOT NULL,
    metric_id bigint NOT NULL,
    source_id bigint NOT NULL,
    value double precision NOT NULL CHECK (value > '-infinity' AND value < 'infinity'),
    PRIMARY KEY (device_id, metric_id, time)
);
COMMENT ON TABLE readings IS 'One value of one metric of one device. The first value for a time stands; another one is quarantined.';
COMMENT ON COLUMN readings.value IS 'in the unit of metrics.unit';
CREATE INDEX readings_time ON readings USING brin (time, received_at) WITH (autosummarize = on);

CREATE TABLE statics (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    transponder_id bigint NOT NULL,
    digest bigint NOT NULL,
    source_id bigint NOT NULL,
    imo integer,
    draught real,
    ship_type smallint,
    to_bow smallint,
    to_stern smallint,
    to_port smallint,
    to_starboard smallint,
    msg_type smallint NOT NULL,
    name text,
    callsign text,
    destination text,
    eta text,
    PRIMARY KEY (transponder_id, time, digest)
);
COMMENT ON TABLE statics IS 'Every static and voyage report (AIS 5, 19, 24; VMS identity); columns as in transponders.';
CREATE INDEX statics_time ON statics USING brin (time, received_at) WITH (autosummarize = on);

CREATE TABLE ais_messages (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    transponder_id bigint NOT NULL,
    digest bigint NOT NULL,
    source_id bigint NOT NULL,
    msg_type smallint NOT NULL,
    kind text NOT NULL,
    fields jsonb NOT NULL,
    PRIMARY KEY (transponder_id, time, digest)
);
COMMENT ON TABLE ais_messages IS 'AIS messages that are neither position nor static data, whole, under the field names of ITU-R M.1371-5.';
CREATE INDEX ais_messages_time ON ais_messages USING brin (time, received_at) WITH (autosummarize = on);

CREATE TABLE receptions (
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    transponder_id bigint NOT NULL,
    digest bigint NOT NULL,
    source_id bigint NOT NULL,
    PRIMARY KEY (transponder_id, time, digest, source_id)
);
COMMENT ON TABLE receptions IS 'Further hearings, by other receivers, of a transmission stored elsewhere; time is that of the first hearing, so that both join.';
CREATE INDEX receptions_time ON receptions USING brin (time, received_at) WITH (autosummarize = on);

-- One row per subject, rewritten in place: room in the page and no further index keep those updates cheap (HOT). A map
-- of the latest positions reads the whole table, which is as small as the fleet.
CREATE TABLE latest_positions (
    transponder_id bigint PRIMARY KEY,
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    digest bigint NOT NULL,
    source_id bigint NOT NULL,
    lon double precision NOT NULL,
    lat double precision NOT NULL,
    sog double precision,
    cog double precision,
    altitude double precision,
    rot real,
    heading smallint,
    nav_status smallint,
    accuracy smallint,
    msg_type smallint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE latest_positions IS 'The newest position of each transponder, by event time; of two at one time, the first to arrive.';

CREATE TABLE latest_readings (
    device_id bigint NOT NULL,
    metric_id bigint NOT NULL,
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source_id bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (device_id, metric_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE latest_readings IS 'The newest reading of each device and metric, by event time.';
