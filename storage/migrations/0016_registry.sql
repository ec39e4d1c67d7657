-- Vessels and devices as people register them, so that rules can ask what a transponder does not tell: who carries it,
-- how long the vessel is, where a device stands.
--
-- A vessel may be registered before its transponder was ever heard, so vessel_transponders holds what the transponder
-- is called on the wire and no longer points at a row that only its first message makes.

ALTER TABLE vessels
    ALTER COLUMN length_m TYPE double precision USING length_m::numeric::double precision,
    ADD COLUMN flag text CHECK (flag ~ '^[A-Z]{2}$'),
    ADD COLUMN class text,
    ADD COLUMN lists text[] NOT NULL DEFAULT '{}',
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN active boolean NOT NULL DEFAULT true,
    DROP CONSTRAINT vessels_registration_no_key;
-- A number is given again once a vessel is struck off; and two vessels may change theirs in one import.
ALTER TABLE vessels ADD CONSTRAINT vessels_registration_no
    EXCLUDE USING btree (registration_no WITH =) WHERE (active) DEFERRABLE INITIALLY DEFERRED;
COMMENT ON COLUMN vessels.flag IS 'flag State, ISO 3166-1 alpha-2';
COMMENT ON COLUMN vessels.class IS 'what it is for: fishing, logistics, ...';
COMMENT ON COLUMN vessels.licence_valid IS 'days are whole days at the offset from UTC given with the import';
COMMENT ON COLUMN vessels.lists IS 'lists that it is on';
COMMENT ON COLUMN vessels.version IS 'digest of the entry with its transponders, as imported';
COMMENT ON COLUMN vessels.active IS 'false: no longer in the registry';

ALTER TABLE vessel_transponders
    DROP CONSTRAINT vessel_transponders_transponder_id_fkey,
    ADD COLUMN kind text,
    ADD COLUMN identifier text;
UPDATE vessel_transponders AS v SET kind = t.kind, identifier = t.identifier
FROM transponders AS t WHERE t.id = v.transponder_id;
ALTER TABLE vessel_transponders ALTER COLUMN kind SET NOT NULL, ALTER COLUMN identifier SET NOT NULL;
COMMENT ON COLUMN vessel_transponders.transponder_id IS 'as in transponders, once it was heard';
COMMENT ON COLUMN vessel_transponders.kind IS 'as in transponders: ais, or device';
COMMENT ON COLUMN vessel_transponders.identifier IS 'as in transponders: the MMSI, or gateway/device';

-- What it was for is said by vessel_transponders alone.
ALTER TABLE transponders DROP COLUMN vessel_id;

ALTER TABLE devices ADD COLUMN groups text[] NOT NULL DEFAULT '{}', ADD COLUMN version text;
UPDATE devices SET groups = ARRAY[device_group] WHERE device_group IS NOT NULL;
UPDATE devices SET version = '' WHERE lon IS NOT NULL OR lat IS NOT NULL OR device_group IS NOT NULL;
ALTER TABLE devices DROP COLUMN device_group;
COMMENT ON COLUMN devices.groups IS 'groups that it is in, by the registry';
COMMENT ON COLUMN devices.version IS 'digest of its entry in the registry, as imported; NULL: not registered';

CREATE FUNCTION haidang_moment(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN 'epoch'::timestamptz + (micros / 1000000) * interval '1 second' + (micros % 1000000) * interval '1 microsecond';
COMMENT ON FUNCTION haidang_moment IS 'A time from microseconds since the epoch';
