-- The bytes, as they came over the wire, of the messages that decided what became of an alert. Kept in the transaction of
-- the change, for these messages alone: of all others the rows say what they said.
CREATE TABLE alert_messages (
    alert_id uuid NOT NULL REFERENCES alerts,
    received_at timestamptz NOT NULL,
    message integer NOT NULL CHECK (message >= 0),
    source_id bigint NOT NULL,
    origin text NOT NULL,
    format text NOT NULL,
    per_line boolean NOT NULL,
    raw bytea NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (alert_id, received_at, message, source_id)
);
COMMENT ON TABLE alert_messages IS 'What was received and decided a change of an alert, as received. Rows are only ever added.';
COMMENT ON COLUMN alert_messages.received_at IS 'of the delivery; message n of it (from 0) was received n microseconds later';
COMMENT ON COLUMN alert_messages.origin IS 'topic, peer address or file name';
COMMENT ON COLUMN alert_messages.format IS 'the decoder that read it';
COMMENT ON COLUMN alert_messages.per_line IS 'whether it is lines of a stream: the last of them decided, those before belong to it';
COMMENT ON COLUMN alert_messages.raw IS 'the bytes received, the first 64 KiB of them';
COMMENT ON COLUMN alert_messages.size IS 'bytes received';
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON alert_messages
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
