-- What happened to an alert, and who was told of it, is a record: two chains for each alert, of which every row holds a
-- hash over itself and the hash of the row before. Seals hold what the chains came to, so that a chain cannot lose its
-- end, nor an alert all of its rows, without it being seen.
--
-- When a row was written is not in its hash, for what the engine finds is to give equal chains however often the
-- process was killed on the way. Seals hold it instead.

CREATE FUNCTION haidang_link(previous bytea, VARIADIC fields text[]) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT sha256(coalesce(previous, ''::bytea) || convert_to(string_agg(
        coalesce(octet_length(convert_to(field, 'UTF8')) || ':' || field, '-'), ',' ORDER BY number), 'UTF8'))
    FROM unnest(fields) WITH ORDINALITY AS given (field, number)
);
COMMENT ON FUNCTION haidang_link IS
    'SHA-256 of the hash before and the fields: each as its length in bytes (UTF-8), a colon and itself, or "-" for NULL, with commas between';

CREATE FUNCTION haidang_microseconds(at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN (extract(epoch FROM at) * 1000000)::bigint::text;
COMMENT ON FUNCTION haidang_microseconds IS 'Since the epoch, as text, however the session writes times';

ALTER TABLE alert_history ADD COLUMN hash bytea;
COMMENT ON COLUMN alert_history.hash IS
    'haidang_link of the row before: alert_id, seq, at, actor, from_state, to_state, change, note, details';
COMMENT ON COLUMN alert_history.recorded_at IS
    'when this row was written, by the server''s clock; not in its hash but in the seal';

CREATE FUNCTION alert_history_link() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    previous bytea;
BEGIN
    -- One writer of an alert after the other: two rows must not follow the same one.
    PERFORM FROM alerts WHERE id = NEW.alert_id FOR NO KEY UPDATE;
    SELECT hash INTO previous FROM alert_history
    WHERE alert_id = NEW.alert_id AND seq < NEW.seq ORDER BY seq DESC LIMIT 1;
    NEW.hash := haidang_link(previous, NEW.alert_id::text, NEW.seq::text, haidang_microseconds(NEW.at), NEW.actor,
        NEW.from_state, NEW.to_state, NEW.change, NEW.note, NEW.details::text);
    RETURN NEW;
END
$$;

DO $$
DECLARE
    line record;
    chain uuid;
    last bytea;
BEGIN
    FOR line IN SELECT * FROM alert_history ORDER BY alert_id, seq LOOP
        IF chain IS DISTINCT FROM line.alert_id THEN
            chain := line.alert_id;
            last := NULL;
        END IF;
        last := haidang_link(last, line.alert_id::text, line.seq::text, haidang_microseconds(line.at), line.actor,
            line.from_state, line.to_state, line.change, line.note, line.details::text);
        UPDATE alert_history SET hash = last WHERE (alert_id, seq) = (line.alert_id, line.seq);
    END LOOP;
END
$$;
ALTER TABLE alert_history ALTER COLUMN hash SET NOT NULL;
CREATE INDEX alert_history_recorded ON alert_history (recorded_at);
CREATE TRIGGER link BEFORE INSERT ON alert_history FOR EACH ROW EXECUTE FUNCTION alert_history_link();

CREATE TABLE alert_deliveries (
    alert_id uuid NOT NULL REFERENCES alerts,
    seq integer NOT NULL CHECK (seq > 0),
    at timestamptz NOT NULL,
    notification_id uuid NOT NULL,
    channel text NOT NULL,
    event text NOT NULL,
    outcome text NOT NULL,
    attempts integer NOT NULL,
    note text,
    hash bytea NOT NULL,
    PRIMARY KEY (alert_id, seq)
);
COMMENT ON TABLE alert_deliveries IS
    'What became of every notification. Rows are only ever added. A table of its own, and a chain of its own: how long a target takes must not decide how the history of the alert is numbered.';
COMMENT ON COLUMN alert_deliveries.at IS 'when it came to its end, by the server''s clock';
COMMENT ON COLUMN alert_deliveries.outcome IS 'sent, abandoned, or muted';
COMMENT ON COLUMN alert_deliveries.attempts IS 'sends tried';
COMMENT ON COLUMN alert_deliveries.note IS 'why it was abandoned, who of several did not take it, or by what it was muted';
COMMENT ON COLUMN alert_deliveries.hash IS
    'haidang_link of the row before: alert_id, seq, at, notification_id, channel, event, outcome, attempts, note';
CREATE INDEX alert_deliveries_at ON alert_deliveries (at);

CREATE FUNCTION alert_deliveries_link() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    previous record;
BEGIN
    PERFORM FROM alerts WHERE id = NEW.alert_id FOR NO KEY UPDATE;
    SELECT seq, hash INTO previous FROM alert_deliveries
    WHERE alert_id = NEW.alert_id ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(previous.seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.hash := haidang_link(previous.hash, NEW.alert_id::text, NEW.seq::text, haidang_microseconds(NEW.at),
        NEW.notification_id::text, NEW.channel, NEW.event, NEW.outcome, NEW.attempts::text, NEW.note);
    RETURN NEW;
END
$$;
CREATE TRIGGER link BEFORE INSERT ON alert_deliveries FOR EACH ROW EXECUTE FUNCTION alert_deliveries_link();

INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
SELECT alert_id, id, channel, event, state, attempts, concat_ws(' ', 'known when the record began;', last_error)
FROM notifications WHERE state IN ('sent', 'abandoned') ORDER BY sent_at, created_at, id;

CREATE TABLE seals (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    at timestamptz NOT NULL,
    hash bytea NOT NULL
);
COMMENT ON TABLE seals IS
    'About once a minute, a hash over what the chains of alerts have come to and the seal before. Rows are only ever added; the service logs each, so that there is a copy elsewhere.';
COMMENT ON COLUMN seals.at IS 'when it was made, by the server''s clock';

CREATE TABLE seal_heads (
    seal bigint NOT NULL REFERENCES seals,
    alert_id uuid NOT NULL,
    chain text NOT NULL CHECK (chain IN ('history', 'deliveries')),
    seq_from integer NOT NULL,
    seq integer NOT NULL,
    hash bytea NOT NULL,
    recorded bytea NOT NULL,
    PRIMARY KEY (seal, alert_id, chain)
);
COMMENT ON TABLE seal_heads IS 'The chains that had grown when a seal was made. Without a foreign key: a head outlives its alert.';
COMMENT ON COLUMN seal_heads.seq_from IS 'the first row of the chain that no seal before has covered';
COMMENT ON COLUMN seal_heads.seq IS 'the last row of the chain';
COMMENT ON COLUMN seal_heads.hash IS 'of that row';
COMMENT ON COLUMN seal_heads.recorded IS 'haidang_link without a hash before: when each of these rows was written';
CREATE INDEX seal_heads_alert ON seal_heads (alert_id, chain, seq);

CREATE FUNCTION haidang_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is a record: its rows are neither changed nor taken away', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON alert_history
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON alert_deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON seal_heads
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
