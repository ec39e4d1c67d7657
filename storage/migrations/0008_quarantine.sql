-- How often a refused message was tried again, and what made room when quarantine outgrew its bound.

ALTER TABLE quarantine ADD COLUMN redrives integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN quarantine.redrives IS 'how often it was tried again';
COMMENT ON COLUMN quarantine.redrive_outcome IS 'what became of the last try: stored, duplicate, ignored, or refused and why';
COMMENT ON COLUMN quarantine.sha256 IS 'of all bytes received; of a payload too large to be held whole, of what was held';

CREATE TABLE quarantine_evicted (
    source_id bigint NOT NULL,
    reason text NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    last_received_at timestamptz NOT NULL,
    evicted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, reason)
);
COMMENT ON TABLE quarantine_evicted IS 'Refused messages deleted before their time because quarantine had outgrown its bound.';
COMMENT ON COLUMN quarantine_evicted.bytes IS 'received, of these messages';
COMMENT ON COLUMN quarantine_evicted.last_received_at IS 'of those, the latest to be received';
