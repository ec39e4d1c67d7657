-- What a gateway or a source brings: alerts about them have labels of it, and so have those of their devices and vessels.
-- A policy of inhibition may have a symptom wait for its cause, and hold it for a time after its cause is over.

CREATE OR REPLACE FUNCTION alert_labels(alert alerts) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'rule', alert.rule_id, 'kind', alert.details ->> 'kind', 'severity', alert.severity,
    'subject_kind', alert.subject_kind, 'subject', alert.subject_name,
    'gateway', CASE alert.subject_kind
        WHEN 'device' THEN split_part(alert.subject_name, '/', 1)
        WHEN 'gateway' THEN alert.subject_name
        WHEN 'transponder' THEN
            CASE WHEN coalesce(alert.details ->> 'transponder', alert.subject_name) LIKE '%/%'
                THEN split_part(coalesce(alert.details ->> 'transponder', alert.subject_name), '/', 1) END END,
    'device', CASE alert.subject_kind WHEN 'device' THEN split_part(alert.subject_name, '/', 2) END,
    'source', CASE alert.subject_kind WHEN 'source' THEN alert.subject_name ELSE alert.details ->> 'heard_by' END,
    'zone', alert.zone_id, 'key', alert.key, 'metric', alert.details ->> 'metric');

CREATE FUNCTION policy_span(body jsonb, name text) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce((body ->> name)::bigint, 0) * interval '1 microsecond';
COMMENT ON FUNCTION policy_span IS 'A duration that a policy says; none where it says none';

CREATE OR REPLACE FUNCTION alert_gate(alert alerts, at timestamptz) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT holder FROM (
        SELECT 1 AS rank, ends_at AS until, 'silence ' || s.id AS holder FROM silences AS s
        WHERE s.starts_at <= at AND s.ends_at > at AND labels_match(s.compiled, alert_labels(alert))
        UNION ALL
        SELECT 2, NULL, 'alert ' || source.id
        FROM desk_policies AS p
        JOIN alert_inhibitors AS i ON i.policy = p.id
        JOIN alerts AS source ON source.id = i.alert_id
        WHERE p.kind = 'inhibit' AND labels_match(p.body -> 'mutes', alert_labels(alert))
            AND NOT labels_match(p.body -> 'mutes', alert_labels(source))
            AND (source.state IN ('firing', 'acknowledged')
                OR source.resolved_at
                    + CASE WHEN source.retracted THEN interval '0' ELSE policy_span(p.body, 'linger') END > at)
            AND coalesce(source.known_at, source.fired_at) <= at AND source.id <> alert.id
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(p.body -> 'same') AS label
                WHERE alert_labels(alert) ->> label IS DISTINCT FROM alert_labels(source) ->> label
                    OR alert_labels(alert) ->> label IS NULL)
        UNION ALL
        SELECT 3, NULL, 'wait ' || p.id
        FROM desk_policies AS p
        WHERE p.kind = 'inhibit' AND labels_match(p.body -> 'mutes', alert_labels(alert))
            AND coalesce(alert.known_at, alert.fired_at) + policy_span(p.body, 'wait') > at
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(p.body -> 'same') AS label
                WHERE alert_labels(alert) ->> label IS NULL)
    ) AS holders
    ORDER BY rank, until DESC, holder LIMIT 1;
END;
COMMENT ON COLUMN notifications.held_by IS
    'what held it last: silence ID, alert ID, incident ID, or wait and the policy by which it waits for its cause';

-- Which alerts are of an incident is a record.
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_alerts
    FOR EACH STATEMENT EXECUTE FUNCTION haidang_refuse();
