-- All spans in which nothing could be heard, and not the last few alone that the engine goes by: an alert of silence is
-- judged again, years later, with those of its time.
CREATE TABLE deaf_spans (
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (since, until)
);
COMMENT ON TABLE deaf_spans IS 'Spans of receive time in which the service could not hear (alerting.hearing), written with what it made of them.';

CREATE FUNCTION deaf_spans_kept() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deaf_spans (since, until)
    SELECT 'epoch'::timestamptz + (span ->> 0)::bigint * interval '1 microsecond',
        'epoch'::timestamptz + (span ->> 1)::bigint * interval '1 microsecond'
    FROM jsonb_array_elements(NEW.state -> 'spans') AS span
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER deaf AFTER INSERT OR UPDATE ON rule_state
    FOR EACH ROW WHEN (NEW.rule_id = '(deaf)') EXECUTE FUNCTION deaf_spans_kept();
UPDATE rule_state SET state = state WHERE rule_id = '(deaf)';
