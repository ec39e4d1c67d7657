-- Every version of every zone, and when it was in force: an alert names the one it was raised on, and what follows from a
-- zone must be found again after it was edited or retired. Written by trigger, so that no edit can be forgotten.

CREATE TABLE zone_versions (
    id text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz,
    version text NOT NULL,
    name text NOT NULL,
    name_vi text,
    kind text NOT NULL,
    geometry jsonb NOT NULL,
    properties jsonb NOT NULL,
    valid_from date,
    valid_to date,
    source text,
    PRIMARY KEY (id, since)
);
COMMENT ON TABLE zone_versions IS 'What zones were and are: a row for each time a version came into force.';
COMMENT ON COLUMN zone_versions.since IS
    'when it came into force, by the server''s clock; 1970: before versions were kept';
COMMENT ON COLUMN zone_versions.until IS 'when it went out of force, edited or retired; NULL: it is in force';
CREATE INDEX zone_versions_version ON zone_versions (id, version);

INSERT INTO zone_versions (id, since, until, version, name, name_vi, kind, geometry, properties, valid_from, valid_to, source)
SELECT id, 'epoch', CASE WHEN NOT active THEN now() END, version, name, name_vi, kind, geometry, properties, valid_from,
    valid_to, source
FROM zones;

ALTER TABLE zones ADD COLUMN file text;
COMMENT ON COLUMN zones.file IS 'the file of the service''s settings that it is drawn in; NULL: it was imported';

CREATE FUNCTION zone_versioned() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.active AND NEW.active AND OLD.version = NEW.version THEN
        RETURN NULL;
    END IF;
    UPDATE zone_versions SET until = clock_timestamp() WHERE id = NEW.id AND until IS NULL;
    IF NEW.active THEN
        INSERT INTO zone_versions (id, since, version, name, name_vi, kind, geometry, properties, valid_from, valid_to, source)
        VALUES (NEW.id, clock_timestamp(), NEW.version, NEW.name, NEW.name_vi, NEW.kind, NEW.geometry, NEW.properties,
            NEW.valid_from, NEW.valid_to, NEW.source);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER versioned AFTER INSERT OR UPDATE ON zones FOR EACH ROW EXECUTE FUNCTION zone_versioned();
