-- What was told, in the chains: of each notification a hash of what it said, and who had silenced what and when it ended.

ALTER TABLE alert_deliveries ADD COLUMN payload_sha256 bytea;
COMMENT ON COLUMN alert_deliveries.payload_sha256 IS
    'SHA-256 of what the channel was given to say (notifications.payload, as PostgreSQL writes a jsonb); NULL: from before it was kept';
COMMENT ON COLUMN alert_deliveries.hash IS
    'haidang_link of the row before: alert_id, seq, at, notification_id, channel, event, outcome, attempts, note, and payload_sha256 where there is one';

CREATE OR REPLACE FUNCTION alert_deliveries_link() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    previous record;
BEGIN
    PERFORM FROM alerts WHERE id = NEW.alert_id FOR NO KEY UPDATE;
    SELECT seq, hash INTO previous FROM alert_deliveries
    WHERE alert_id = NEW.alert_id ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(previous.seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.payload_sha256 := (
        SELECT sha256(convert_to(payload::text, 'UTF8')) FROM notifications WHERE id = NEW.notification_id);
    NEW.hash := haidang_link(previous.hash, VARIADIC ARRAY[NEW.alert_id::text, NEW.seq::text,
        haidang_microseconds(NEW.at), NEW.notification_id::text, NEW.channel, NEW.event, NEW.outcome,
        NEW.attempts::text, NEW.note]
        || CASE WHEN NEW.payload_sha256 IS NOT NULL THEN ARRAY[encode(NEW.payload_sha256, 'hex')] END);
    RETURN NEW;
END
$$;

CREATE TABLE silence_history (
    silence_id uuid NOT NULL REFERENCES silences,
    seq integer NOT NULL CHECK (seq > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    change text NOT NULL CHECK (change IN ('made', 'ended', 'expired')),
    details jsonb NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (silence_id, seq)
);
COMMENT ON TABLE silence_history IS 'What became of every silence, a chain each. Rows are only ever added.';
COMMENT ON COLUMN silence_history.at IS 'when, by the server''s clock; of one that expired, when it was noticed';
COMMENT ON COLUMN silence_history.actor IS 'who made or ended it; "desk" where its time was up';
COMMENT ON COLUMN silence_history.details IS 'matcher, starts_at, ends_at and reason, as they were from then on';
COMMENT ON COLUMN silence_history.hash IS
    'haidang_link of the row before: silence_id, seq, at, actor, change, details';
CREATE INDEX silence_history_at ON silence_history (at);

CREATE FUNCTION silence_history_link() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    previous record;
BEGIN
    PERFORM FROM silences WHERE id = NEW.silence_id FOR NO KEY UPDATE;
    SELECT seq, hash INTO previous FROM silence_history
    WHERE silence_id = NEW.silence_id ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(previous.seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.hash := haidang_link(previous.hash, NEW.silence_id::text, NEW.seq::text, haidang_microseconds(NEW.at), NEW.actor,
        NEW.change, NEW.details::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER link BEFORE INSERT ON silence_history FOR EACH ROW EXECUTE FUNCTION silence_history_link();

CREATE FUNCTION silence_said(silence silences) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_build_object('matcher', silence.matcher, 'starts_at', haidang_microseconds(silence.starts_at),
    'ends_at', haidang_microseconds(silence.ends_at), 'reason', silence.reason);

INSERT INTO silence_history (silence_id, actor, change, details)
SELECT id, author, 'made', silence_said(s) FROM silences AS s ORDER BY created_at, id;
INSERT INTO silence_history (silence_id, actor, change, details)
SELECT id, coalesce(ended_by, 'desk'), CASE WHEN ended_by IS NULL THEN 'expired' ELSE 'ended' END, silence_said(s)
FROM silences AS s WHERE ends_at <= now() ORDER BY ends_at, id;

CREATE FUNCTION silence_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO silence_history (silence_id, actor, change, details)
        VALUES (NEW.id, NEW.author, 'made', silence_said(NEW));
    ELSIF NEW IS DISTINCT FROM OLD THEN
        INSERT INTO silence_history (silence_id, actor, change, details)
        VALUES (NEW.id, coalesce(NEW.ended_by, 'unknown'), 'ended', silence_said(NEW));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER record AFTER INSERT OR UPDATE ON silences FOR EACH ROW EXECUTE FUNCTION silence_changed();

CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON silence_history
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();

ALTER TABLE seal_heads DROP CONSTRAINT seal_heads_chain_check;
ALTER TABLE seal_heads ADD CONSTRAINT seal_heads_chain_check CHECK (chain IN ('history', 'deliveries', 'silences'));
COMMENT ON COLUMN seal_heads.alert_id IS 'whose chain it is: an alert, or of silences a silence';
