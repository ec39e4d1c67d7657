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

-- The same as before, but that what is asked of each of many alerts is asked of those first that are likely to answer.

-- Whether an alert of it lasts at an instant: the last to join is the likeliest.
CREATE FUNCTION incident_lasts(whose uuid, instant timestamptz, ended jsonb) RETURNS boolean
LANGUAGE sql STABLE
RETURN coalesce((
    SELECT true FROM incident_alerts AS m
    CROSS JOIN LATERAL (SELECT * FROM alerts AS o WHERE o.id = m.alert_id OFFSET 0) AS a
    WHERE m.incident_id = whose
        AND CASE WHEN a.state IN ('firing', 'acknowledged') THEN coalesce((
                SELECT e.known > instant FROM jsonb_to_recordset(ended) AS e (id uuid, known timestamptz)
                WHERE e.id = a.id), true)
            ELSE coalesce(a.ended_known_at, a.resolved_at) > instant END
    ORDER BY m.seq DESC LIMIT 1), false);

-- Whether a channel was told of another alert of it that was as severe: of the first it was, if of any.
CREATE FUNCTION incident_told(whose uuid, but uuid, whom text, least_rank integer) RETURNS boolean
LANGUAGE sql STABLE
RETURN coalesce((
    SELECT true FROM incident_alerts AS m
    CROSS JOIN LATERAL (SELECT * FROM alerts AS o WHERE o.id = m.alert_id OFFSET 0) AS a
    CROSS JOIN LATERAL (
        SELECT FROM notifications AS n
        WHERE n.alert_id = m.alert_id AND n.channel = whom AND n.state NOT IN ('held', 'muted')
            AND n.event IN ('firing', 'escalated', 'deescalated', 'revised')
            AND severity_rank(n.payload ->> 'severity') >= least_rank LIMIT 1) AS one
    WHERE m.incident_id = whose AND m.alert_id <> but AND NOT a.retracted
    ORDER BY m.seq LIMIT 1), false);

CREATE OR REPLACE FUNCTION incidents_join(touched uuid[], ended jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    alert alerts;
    policy record;
    incident incidents;
    instant timestamptz;
    shared jsonb;
    taken integer := 0;
BEGIN
    -- What happens to alerts of these incidents is decided one after the other. First incidents, then alerts are locked.
    PERFORM FROM incidents AS i
    WHERE i.id IN (SELECT m.incident_id FROM incident_alerts AS m WHERE m.alert_id = ANY(touched))
    ORDER BY i.id FOR UPDATE;
    PERFORM FROM desk_policies AS p WHERE p.kind = 'group' ORDER BY p.id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR alert IN
        SELECT a.* FROM alerts AS a JOIN alert_history AS h ON (h.alert_id, h.seq) = (a.id, 1) AND h.recorded_at = now()
        WHERE a.id = ANY(touched) AND NOT a.shadow
            AND NOT EXISTS (SELECT FROM incident_alerts AS m WHERE m.alert_id = a.id)
        ORDER BY coalesce(a.known_at, a.fired_at), a.id
    LOOP
        instant := coalesce(alert.known_at, alert.fired_at);
        SELECT p.id, p.body, coalesce((
                SELECT jsonb_object_agg(label, alert_labels(alert) ->> label)
                FROM jsonb_array_elements_text(p.body -> 'by') AS label), '{}') AS shared
            INTO policy
        FROM desk_policies AS p
        WHERE p.kind = 'group' AND labels_match(p.body -> 'match', alert_labels(alert))
            AND (p.body ->> 'within_m' IS NULL OR alert.lon IS NOT NULL AND alert.lat IS NOT NULL)
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(p.body -> 'by') AS label
                WHERE alert_labels(alert) ->> label IS NULL)
        ORDER BY p.id LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        taken := taken + 1;
        shared := policy.shared;
        SELECT i.* INTO incident
        FROM incidents AS i JOIN alerts AS f ON f.id = i.first_alert
        WHERE i.policy = policy.id AND i.labels = shared AND i.opened_at <= instant
            AND i.joined_at >= instant - (policy.body ->> 'within')::bigint * interval '1 microsecond'
            AND (policy.body ->> 'within_m' IS NULL
                OR metres_between(f.lon, f.lat, alert.lon, alert.lat) <= (policy.body ->> 'within_m')::double precision)
            AND incident_lasts(i.id, instant, ended)
        ORDER BY i.opened_at, i.id LIMIT 1 FOR UPDATE OF i;
        IF NOT FOUND THEN
            INSERT INTO incidents (id, policy, labels, body, first_alert, opened_at, joined_at, severity, said_at)
            VALUES (md5('incident|' || policy.id || '|' || alert.id)::uuid, policy.id, shared, policy.body,
                alert.id, instant, instant, alert.severity, instant)
            RETURNING * INTO incident;
            INSERT INTO incident_alerts (alert_id, incident_id, seq, joined_at, severity)
            VALUES (alert.id, incident.id, 1, instant, alert.severity);
            CONTINUE;
        END IF;
        IF incident.due_at <= instant THEN
            PERFORM incident_says(incident.id, 'grouped', incident.due_at);
            incident.said_at := incident.due_at;
            incident.due_at := NULL;
        END IF;
        INSERT INTO incident_alerts (alert_id, incident_id, seq, joined_at, severity)
        SELECT alert.id, incident.id, max(m.seq) + 1, instant, alert.severity
        FROM incident_alerts AS m WHERE m.incident_id = incident.id;
        UPDATE incidents AS i
        SET joined_at = greatest(i.joined_at, instant), alerts = i.alerts + 1,
            severity = CASE WHEN severity_rank(alert.severity) > severity_rank(i.severity) THEN alert.severity ELSE i.severity END,
            due_at = coalesce(incident.due_at, greatest(
                instant + (i.body ->> 'wait')::bigint * interval '1 microsecond',
                incident.said_at + (i.body ->> 'every')::bigint * interval '1 microsecond'))
        WHERE i.id = incident.id;
        UPDATE alerts AS a SET revision = a.revision + 1 WHERE a.id = alert.id;
        INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, details)
        SELECT a.id, a.revision, a.fired_at, 'desk', a.state, a.state, 'grouped',
            jsonb_build_object('incident', incident.id, 'policy', incident.policy, 'first_alert', incident.first_alert)
        FROM alerts AS a WHERE a.id = alert.id;
    END LOOP;
    RETURN taken;
END
$$;

CREATE OR REPLACE FUNCTION notifications_grouped(given jsonb, since timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    candidates uuid[];
    place integer;
    one record;
    freed integer := 0;
BEGIN
    SELECT array_agg(n.id ORDER BY g.known, m.seq, array_position(ARRAY['firing', 'escalated', 'deescalated'], n.event), n.id)
        INTO candidates
    FROM jsonb_to_recordset(given) AS g (id uuid, known timestamptz)
    JOIN notifications AS n ON n.id = g.id JOIN incident_alerts AS m ON m.alert_id = n.alert_id
    WHERE n.state = 'queued' AND n.groups AND n.created_at >= since
        AND n.event IN ('firing', 'escalated', 'deescalated', 'revised');
    UPDATE notifications AS n SET state = 'held', held_by = 'incident ' || m.incident_id
    FROM incident_alerts AS m WHERE m.alert_id = n.alert_id AND n.id = ANY(candidates);
    FOR place IN 1 .. coalesce(array_length(candidates, 1), 0) LOOP
        SELECT n.id, n.alert_id, n.channel, m.incident_id, severity_rank(n.payload ->> 'severity') AS rank,
            severity_rank(i.body ->> 'tell_from') AS tell_from
            INTO one
        FROM notifications AS n JOIN incident_alerts AS m ON m.alert_id = n.alert_id
        JOIN incidents AS i ON i.id = m.incident_id WHERE n.id = candidates[place];
        CONTINUE WHEN one.rank < one.tell_from
            AND NOT EXISTS (
                SELECT FROM notifications AS n
                WHERE (n.alert_id, n.channel) = (one.alert_id, one.channel) AND n.state NOT IN ('held', 'muted'))
            AND incident_told(one.incident_id, one.alert_id, one.channel, one.rank);
        UPDATE notifications AS n SET state = 'queued', held_by = NULL WHERE n.id = one.id;
        freed := freed + 1;
        -- It says all that those before it would have said.
        WITH muted AS (
            UPDATE notifications AS n SET state = 'muted'
            WHERE (n.alert_id, n.channel, n.state) = (one.alert_id, one.channel, 'held')
                AND n.held_by LIKE 'incident %' AND n.id <> ALL(candidates[place:])
            RETURNING n.*
        )
        INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
        SELECT m.alert_id, m.id, m.channel, m.event, 'muted', m.attempts, 'held by ' || m.held_by
        FROM muted AS m ORDER BY m.at, m.id;
    END LOOP;
    RETURN coalesce(array_length(candidates, 1), 0) - freed;
END
$$;
