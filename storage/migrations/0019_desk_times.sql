-- What the desk decides it decides by when a change became known, again when an alert becomes more or less severe or
-- opens anew, and of nothing that nobody is told of.

ALTER TABLE alerts ADD COLUMN told boolean;
-- A session that tells nobody, such as a replay's, says so: SET haidang.tells = 'off'.
ALTER TABLE alerts ALTER COLUMN told SET DEFAULT coalesce(current_setting('haidang.tells', true), '') <> 'off';
COMMENT ON COLUMN alerts.told IS 'false: found by who tells nobody, so it has neither notifications nor deadlines; NULL: true';
ALTER TABLE alerts ADD COLUMN changed_known_at timestamptz;
COMMENT ON COLUMN alerts.changed_known_at IS
    'when the last change that the engine made of it became known, by receive time; NULL: it was not changed';

-- An alert that matches both sides of a policy does not mute by it: two such alerts would mute each other.
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
            AND (source.state IN ('firing', 'acknowledged') OR source.resolved_at > at)
            AND coalesce(source.known_at, source.fired_at) <= at AND source.id <> alert.id
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(p.body -> 'same') AS label
                WHERE alert_labels(alert) ->> label IS DISTINCT FROM alert_labels(source) ->> label
                    OR alert_labels(alert) ->> label IS NULL)
    ) AS holders
    ORDER BY rank, until DESC, holder LIMIT 1;
END;

-- Deadlines of the procedures that mean an alert, from an instant on. Those it has already stay as they are.
CREATE FUNCTION alert_deadlines(alert alerts, since timestamptz) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO alert_timers (alert_id, procedure, step, due_at, body)
    SELECT alert.id, p.id, step.number, since + (step.body ->> 'after')::bigint * interval '1 microsecond', step.body
    FROM desk_policies AS p
    CROSS JOIN LATERAL (
        SELECT number, body FROM jsonb_array_elements(p.body -> 'steps') WITH ORDINALITY AS steps (body, number)
        UNION ALL SELECT 0, jsonb_build_object('after', p.body -> 'repeat') WHERE p.body ->> 'repeat' IS NOT NULL
    ) AS step
    WHERE p.kind = 'procedure' AND labels_match(p.body -> 'match', alert_labels(alert))
    ON CONFLICT DO NOTHING;
END;

CREATE OR REPLACE FUNCTION alert_taken_up() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM alert_deadlines(a, greatest(a.fired_at, a.known_at))
    FROM fired AS f JOIN alerts AS a ON a.id = f.id WHERE a.told IS NOT FALSE AND NOT a.shadow;
    INSERT INTO alert_inhibitors (policy, alert_id)
    SELECT p.id, a.id
    FROM fired AS f JOIN alerts AS a ON a.id = f.id JOIN desk_policies AS p
        ON p.kind = 'inhibit' AND labels_match(p.body -> 'when', alert_labels(a))
    WHERE NOT a.shadow;
    RETURN NULL;
END
$$;

CREATE FUNCTION alert_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- As severe as it is now, other policies may mean it.
    PERFORM alert_deadlines(a, greatest(a.last_at, a.changed_known_at))
    FROM was JOIN alerts AS a USING (id)
    WHERE (was.severity <> a.severity OR was.told IS DISTINCT FROM a.told)
        AND a.state IN ('firing', 'acknowledged') AND a.told IS NOT FALSE AND NOT a.shadow;
    DELETE FROM alert_inhibitors AS i USING was, alerts AS a, desk_policies AS p
    WHERE i.alert_id = was.id AND a.id = was.id AND was.severity <> a.severity
        AND (p.kind, p.id) = ('inhibit', i.policy) AND NOT labels_match(p.body -> 'when', alert_labels(a));
    INSERT INTO alert_inhibitors (policy, alert_id)
    SELECT p.id, a.id
    FROM was JOIN alerts AS a USING (id) JOIN desk_policies AS p
        ON p.kind = 'inhibit' AND labels_match(p.body -> 'when', alert_labels(a))
    WHERE was.severity <> a.severity AND NOT a.shadow
    ON CONFLICT DO NOTHING;
    -- Nobody sees to it any more, or it is there again: what had nothing to do is to be done after all.
    UPDATE alert_timers AS t
    SET outcome = NULL, ended_at = NULL,
        due_at = greatest(a.last_at, a.changed_known_at) + (t.body ->> 'after')::bigint * interval '1 microsecond'
    FROM was JOIN alerts AS a USING (id)
    WHERE t.alert_id = was.id AND a.state = 'firing'
        AND (was.state = 'acknowledged' AND t.outcome = 'acknowledged'
            OR was.state = 'resolved' AND t.outcome IN ('acknowledged', 'over'));
    RETURN NULL;
END
$$;
CREATE TRIGGER desk_change AFTER UPDATE ON alerts REFERENCING OLD TABLE AS was
    FOR EACH STATEMENT EXECUTE FUNCTION alert_changed();
