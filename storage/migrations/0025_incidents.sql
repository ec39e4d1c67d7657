-- Incidents: alerts that have one cause are told of once. To which incident an alert belongs is decided in the
-- transaction that fires it, by when it and those before it became known and were over; what there is to say of an
-- incident, and as of when, is written in the transaction that makes it so, and told by the desk.

ALTER TABLE alerts ADD COLUMN ended_known_at timestamptz;
COMMENT ON COLUMN alerts.ended_known_at IS
    'when its end became known, by receive time; NULL: not over, ended by people, or before this was kept';

CREATE TABLE incidents (
    id uuid PRIMARY KEY,
    policy text NOT NULL,
    labels jsonb NOT NULL,
    body jsonb NOT NULL,
    first_alert uuid NOT NULL UNIQUE REFERENCES alerts,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'over')),
    opened_at timestamptz NOT NULL,
    joined_at timestamptz NOT NULL,
    over_at timestamptz,
    alerts integer NOT NULL DEFAULT 1,
    severity text NOT NULL,
    said_at timestamptz NOT NULL,
    due_at timestamptz
) WITH (fillfactor = 80);
COMMENT ON TABLE incidents IS 'Alerts that a policy of grouping takes for one thing. Times are those at which things became known.';
COMMENT ON COLUMN incidents.id IS 'a hash of the policy and the first alert';
COMMENT ON COLUMN incidents.labels IS 'what its alerts have in common: the labels in "by" of the policy';
COMMENT ON COLUMN incidents.body IS 'the policy as it was when the first alert fired';
COMMENT ON COLUMN incidents.state IS 'open as long as one of its alerts is';
COMMENT ON COLUMN incidents.joined_at IS 'when the last alert joined it';
COMMENT ON COLUMN incidents.alerts IS 'how many there are, without those that were none';
COMMENT ON COLUMN incidents.severity IS 'of the worst of these, as they are now or were at their end';
COMMENT ON COLUMN incidents.said_at IS 'when those who were told of the first were last told how many there are';
COMMENT ON COLUMN incidents.due_at IS 'when they are to be told next; NULL: there is nothing to say';
CREATE INDEX incidents_policy ON incidents (policy, joined_at);
CREATE INDEX incidents_due ON incidents (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX incidents_open ON incidents (opened_at) WHERE state = 'open';

CREATE TABLE incident_alerts (
    alert_id uuid PRIMARY KEY REFERENCES alerts,
    incident_id uuid NOT NULL REFERENCES incidents,
    seq integer NOT NULL CHECK (seq > 0),
    joined_at timestamptz NOT NULL,
    severity text NOT NULL,
    UNIQUE (incident_id, seq)
);
COMMENT ON TABLE incident_alerts IS 'Which alerts are of which incident, in the order in which they became known. Rows are only ever added.';
COMMENT ON COLUMN incident_alerts.severity IS 'with which it fired';

CREATE TABLE incident_news (
    incident_id uuid NOT NULL REFERENCES incidents,
    seq integer NOT NULL CHECK (seq > 0),
    at timestamptz NOT NULL,
    event text NOT NULL CHECK (event IN ('grouped', 'incident_over')),
    alerts integer NOT NULL,
    told_at timestamptz,
    PRIMARY KEY (incident_id, seq)
);
COMMENT ON TABLE incident_news IS 'What there was to say of incidents beside what their alerts say.';
COMMENT ON COLUMN incident_news.at IS 'as of when';
COMMENT ON COLUMN incident_news.alerts IS 'how many alerts had joined it by then';
COMMENT ON COLUMN incident_news.told_at IS 'when the desk has told it to whom it is to be told; NULL: not yet';
CREATE INDEX incident_news_untold ON incident_news (at) WHERE told_at IS NULL;

ALTER TABLE notifications ADD COLUMN groups boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN notifications.groups IS
    'its channel is told how many alerts an incident has, and need not be told of each';
COMMENT ON COLUMN notifications.held_by IS 'what held it last: silence ID, alert ID or incident ID';

CREATE FUNCTION severity_rank(severity text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['info', 'warning', 'major', 'critical'], severity);

CREATE FUNCTION metres_between(lon_a double precision, lat_a double precision, lon_b double precision, lat_b double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 * 6371008.8 * asin(least(1, sqrt(
    sin(radians(lat_b - lat_a) / 2) ^ 2
    + cos(radians(lat_a)) * cos(radians(lat_b)) * sin(radians(lon_b - lon_a) / 2) ^ 2)));
COMMENT ON FUNCTION metres_between IS 'Great circle on a sphere of the mean radius of the Earth (IUGG); degrees';

CREATE FUNCTION incident_says(whose uuid, what text, as_of timestamptz) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO incident_news (incident_id, seq, at, event, alerts)
    SELECT whose, coalesce((SELECT max(n.seq) FROM incident_news AS n WHERE n.incident_id = whose), 0) + 1, as_of, what,
        (SELECT max(m.seq) FROM incident_alerts AS m WHERE m.incident_id = whose);
    UPDATE incidents AS i SET said_at = as_of, due_at = NULL WHERE i.id = whose;
END;
COMMENT ON FUNCTION incident_says IS 'There is something to say of an incident, as of an instant';

-- "ended": alerts that end in this transaction, and when that became known. What has not been written of them yet counts,
-- so that it is all the same whether an end and what fires after it are in one batch or in two.
CREATE FUNCTION incidents_join(touched uuid[], ended jsonb) RETURNS integer
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
            AND EXISTS (
                SELECT FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id
                LEFT JOIN jsonb_to_recordset(ended) AS e (id uuid, known timestamptz) ON e.id = a.id
                WHERE m.incident_id = i.id
                    AND CASE WHEN a.state IN ('firing', 'acknowledged') THEN coalesce(e.known > instant, true)
                        ELSE coalesce(a.ended_known_at, a.resolved_at) > instant END)
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
COMMENT ON FUNCTION incidents_join IS 'Of these alerts, those that fire in this transaction become part of an incident that lasts, or the first of one';

CREATE FUNCTION incidents_settle(touched uuid[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    incident incidents;
    now_is record;
    settled integer := 0;
BEGIN
    FOR incident IN
        SELECT i.* FROM incidents AS i
        WHERE i.id IN (SELECT m.incident_id FROM incident_alerts AS m WHERE m.alert_id = ANY(touched))
        ORDER BY i.id FOR UPDATE
    LOOP
        SELECT count(*) FILTER (WHERE NOT a.retracted)::integer AS alerts,
            max(severity_rank(a.severity)) FILTER (WHERE NOT a.retracted) AS severity,
            bool_or(a.state IN ('firing', 'acknowledged')) AS lasts,
            max(coalesce(a.ended_known_at, a.resolved_at)) AS over_at,
            max(greatest(a.changed_known_at, a.known_at)) FILTER (WHERE a.id = ANY(touched)) AS known
        INTO now_is
        FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id WHERE m.incident_id = incident.id;
        IF NOT now_is.lasts AND incident.state = 'open' THEN
            IF incident.due_at <= now_is.over_at THEN
                PERFORM incident_says(incident.id, 'grouped', incident.due_at);
            END IF;
            IF (SELECT count(*) FROM incident_alerts AS m WHERE m.incident_id = incident.id) > 1 THEN
                PERFORM incident_says(incident.id, 'incident_over', now_is.over_at);
            END IF;
            UPDATE incidents AS i SET state = 'over', over_at = now_is.over_at, due_at = NULL WHERE i.id = incident.id;
            settled := settled + 1;
        ELSIF now_is.lasts AND (incident.state = 'over' OR now_is.alerts < incident.alerts) THEN
            -- It lasts after all, or one of its alerts was none: that does not wait.
            UPDATE incidents AS i
            SET state = 'open', over_at = NULL,
                due_at = CASE WHEN (SELECT count(*) FROM incident_alerts AS m WHERE m.incident_id = incident.id) > 1
                    THEN least(i.due_at, now_is.known) END
            WHERE i.id = incident.id;
        END IF;
        UPDATE incidents AS i
        SET alerts = now_is.alerts,
            severity = coalesce((ARRAY['info', 'warning', 'major', 'critical'])[now_is.severity], i.severity)
        WHERE i.id = incident.id;
    END LOOP;
    RETURN settled;
END
$$;
COMMENT ON FUNCTION incidents_settle IS 'What has become of the incidents of these alerts';

-- What is to be told of an alert of an incident is not told to a channel that was told of another one of it that was as
-- severe: it is told how many there are. Those given are looked at in the order in which they became known, so that it
-- is all the same whether they are of one batch or of several.
CREATE FUNCTION notifications_grouped(given jsonb, since timestamptz) RETURNS integer
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
            AND EXISTS (
                SELECT FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id
                JOIN notifications AS n ON n.alert_id = m.alert_id
                WHERE m.incident_id = one.incident_id AND m.alert_id <> one.alert_id AND NOT a.retracted
                    AND n.channel = one.channel AND n.state NOT IN ('held', 'muted')
                    AND n.event IN ('firing', 'escalated', 'deescalated', 'revised')
                    AND severity_rank(n.payload ->> 'severity') >= one.rank);
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
COMMENT ON FUNCTION notifications_grouped IS 'Hold those of these notifications, queued since then, that an incident makes needless; how many';
