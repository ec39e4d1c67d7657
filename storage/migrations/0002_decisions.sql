-- What was decided about it: zones and rules, alerts with their history, the outbox, quarantine, and what the engine
-- and the decoders must find again after a restart.

CREATE TABLE zones (
    id text PRIMARY KEY,
    name text NOT NULL,
    name_vi text,
    kind text NOT NULL,
    geometry jsonb NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    version text NOT NULL,
    valid_from date,
    valid_to date,
    source text,
    active boolean NOT NULL DEFAULT true,
    CHECK (valid_from <= valid_to)
);
COMMENT ON TABLE zones IS 'Areas that rules speak of.';
COMMENT ON COLUMN zones.geometry IS 'GeoJSON geometry (RFC 7946): degrees, longitude first, WGS 84';
COMMENT ON COLUMN zones.properties IS 'of the GeoJSON feature, whole';
COMMENT ON COLUMN zones.version IS 'digest of the zone as imported';
COMMENT ON COLUMN zones.valid_from IS 'first day in force; NULL: since ever';
COMMENT ON COLUMN zones.valid_to IS 'last day in force; NULL: until further notice';

CREATE TABLE rules (
    id text NOT NULL,
    version text NOT NULL,
    body jsonb NOT NULL,
    active boolean NOT NULL DEFAULT true,
    PRIMARY KEY (id, version)
);
COMMENT ON TABLE rules IS 'Every version of every rule that was ever loaded: an alert names the one it came from.';
COMMENT ON COLUMN rules.version IS 'digest of the rule as loaded';
CREATE UNIQUE INDEX rules_active ON rules (id) WHERE active;

CREATE TABLE alerts (
    id uuid PRIMARY KEY,
    rule_id text NOT NULL,
    rule_version text NOT NULL,
    subject_kind text NOT NULL,
    subject_id bigint NOT NULL,
    subject_name text NOT NULL,
    key text NOT NULL,
    state text NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'major', 'critical')),
    started_at timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text,
    resolved_at timestamptz,
    resolved_by text,
    value double precision,
    zone_id text,
    lon double precision,
    lat double precision,
    summary_en text NOT NULL,
    summary_vi text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    revision integer NOT NULL DEFAULT 1
) WITH (fillfactor = 80);
COMMENT ON TABLE alerts IS 'One row per (rule, subject, episode).';
COMMENT ON COLUMN alerts.started_at IS 'event time of the episode''s start';
COMMENT ON COLUMN alerts.fired_at IS 'event time at which it fired (later than started_at where a rule says how long)';
COMMENT ON COLUMN alerts.last_at IS 'time of the last change';
COMMENT ON COLUMN alerts.value IS 'what was seen when it fired, in the metric''s unit';
COMMENT ON COLUMN alerts.lon IS 'degrees east, WGS 84, where it fired';
COMMENT ON COLUMN alerts.lat IS 'degrees north, WGS 84, where it fired';
COMMENT ON COLUMN alerts.revision IS 'number of its last row in alert_history';
CREATE INDEX alerts_open ON alerts (started_at DESC) WHERE state <> 'resolved';
CREATE INDEX alerts_started ON alerts (started_at DESC);
CREATE INDEX alerts_rule ON alerts (rule_id, started_at DESC);
CREATE INDEX alerts_subject ON alerts (subject_kind, subject_id, started_at DESC);

CREATE TABLE alert_history (
    alert_id uuid NOT NULL REFERENCES alerts,
    seq integer NOT NULL CHECK (seq > 0),
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    note text,
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (alert_id, seq)
);
COMMENT ON TABLE alert_history IS 'Every change of every alert. Rows are only ever added.';
COMMENT ON COLUMN alert_history.at IS 'when it changed: event time if the engine did it';
COMMENT ON COLUMN alert_history.recorded_at IS 'when this row was written, by the server''s clock';
COMMENT ON COLUMN alert_history.actor IS '"engine", or who did it';

CREATE TABLE notifications (
    id uuid PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES alerts,
    channel text NOT NULL,
    event text NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'abandoned')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    sent_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
COMMENT ON TABLE notifications IS 'The outbox: written in the transaction of the change it tells of, sent afterwards, at least once.';
COMMENT ON COLUMN notifications.attempts IS 'sends tried';
COMMENT ON COLUMN notifications.leased_until IS 'until then a dispatcher has it in hand';
CREATE INDEX notifications_queued ON notifications (channel, alert_id) WHERE state = 'queued';
CREATE INDEX notifications_alert ON notifications (alert_id);

CREATE TABLE quarantine (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL,
    source_id bigint NOT NULL,
    origin text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    line integer NOT NULL,
    raw bytea NOT NULL,
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    redriven_at timestamptz,
    redrive_outcome text
);
COMMENT ON TABLE quarantine IS 'What could not be taken, whole, with the reason.';
COMMENT ON COLUMN quarantine.id IS 'hash of source, origin, reason and raw: the same refusal twice is one row';
COMMENT ON COLUMN quarantine.origin IS 'topic, peer address or file name';
COMMENT ON COLUMN quarantine.line IS '1-based line within a file or payload; 0: none';
COMMENT ON COLUMN quarantine.raw IS 'the bytes received, the first 64 KiB of them';
COMMENT ON COLUMN quarantine.size IS 'bytes received';
COMMENT ON COLUMN quarantine.sha256 IS 'of all bytes received';
CREATE INDEX quarantine_received ON quarantine (received_at);

CREATE TABLE rule_state (
    rule_id text NOT NULL,
    subject_kind text NOT NULL,
    subject_id bigint NOT NULL,
    key text NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (rule_id, subject_kind, subject_id, key)
) WITH (fillfactor = 50);
COMMENT ON TABLE rule_state IS 'What the engine must find again after a restart.';

CREATE TABLE fragments (
    instance text NOT NULL,
    seq integer NOT NULL,
    source_id bigint NOT NULL,
    origin text NOT NULL,
    received_at timestamptz NOT NULL,
    per_line boolean NOT NULL,
    line integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (instance, seq)
);
COMMENT ON TABLE fragments IS 'Parts of multi-sentence messages still waiting for the rest.';
COMMENT ON COLUMN fragments.instance IS 'which ingesting process they belong to';

CREATE TABLE progress (
    instance text PRIMARY KEY,
    received_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE progress IS 'The latest receive time that each ingesting process has committed.';
