-- The desk: who is not told of an alert, and who is told by when if nobody sees to it. Policies come from the rule packs;
-- what they decide is decided here, in the transaction of the change it is about, from what alerts and policies say
-- alone: never from how rows fell into batches.

CREATE TABLE desk_policies (
    kind text NOT NULL,
    id text NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (kind, id)
);
COMMENT ON TABLE desk_policies IS 'What the rule packs say of inhibition and procedures, as loaded last.';
COMMENT ON COLUMN desk_policies.body IS 'durations in microseconds, globs as regular expressions';

CREATE TABLE silences (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    matcher jsonb NOT NULL,
    compiled jsonb NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_by text,
    CHECK (starts_at <= ends_at)
);
COMMENT ON TABLE silences IS 'While one lasts, nobody is told of the alerts it matches.';
COMMENT ON COLUMN silences.matcher IS 'label to globs, as given';
COMMENT ON COLUMN silences.compiled IS 'the same as regular expressions';
COMMENT ON COLUMN silences.ended_by IS 'who ended it before its time';
CREATE INDEX silences_ends ON silences (ends_at);

CREATE TABLE alert_timers (
    alert_id uuid NOT NULL REFERENCES alerts,
    procedure text NOT NULL,
    step integer NOT NULL CHECK (step >= 0),
    due_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    outcome text CHECK (outcome IN ('done', 'over', 'acknowledged', 'assigned')),
    ended_at timestamptz,
    PRIMARY KEY (alert_id, procedure, step)
);
COMMENT ON TABLE alert_timers IS 'Deadlines of procedures, written with the alert they are about.';
COMMENT ON COLUMN alert_timers.step IS '1 and up; 0: the reminder, which is due again and again';
COMMENT ON COLUMN alert_timers.due_at IS 'when it runs out; of the reminder, when next';
COMMENT ON COLUMN alert_timers.body IS 'what is to be done, as the procedure said when the alert fired';
COMMENT ON COLUMN alert_timers.outcome IS 'NULL: still running; done, or why there was nothing to do';
CREATE INDEX alert_timers_due ON alert_timers (due_at) WHERE outcome IS NULL;

ALTER TABLE notifications DROP CONSTRAINT notifications_state_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_state_check
    CHECK (state IN ('queued', 'sent', 'abandoned', 'held', 'muted'));
ALTER TABLE notifications ADD COLUMN held_by text;
COMMENT ON COLUMN notifications.state IS
    'queued, sent, abandoned; held: not to be sent as long as held_by lasts; muted: never to be sent';
COMMENT ON COLUMN notifications.held_by IS 'what held it last: silence ID or alert ID';
CREATE INDEX notifications_held ON notifications (alert_id, channel) WHERE state = 'held';

CREATE FUNCTION alert_labels(alert alerts) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'rule', alert.rule_id, 'kind', alert.details ->> 'kind', 'severity', alert.severity,
    'subject_kind', alert.subject_kind, 'subject', alert.subject_name,
    'gateway', CASE alert.subject_kind WHEN 'device' THEN split_part(alert.subject_name, '/', 1) END,
    'device', CASE alert.subject_kind WHEN 'device' THEN split_part(alert.subject_name, '/', 2) END,
    'zone', alert.zone_id, 'key', alert.key, 'metric', alert.details ->> 'metric');
COMMENT ON FUNCTION alert_labels IS 'What an alert can be told by: alerting.desk.matching.LABELS';

CREATE FUNCTION labels_match(compiled jsonb, labels jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN NOT EXISTS (
    SELECT FROM jsonb_each(compiled) AS m (label, patterns) WHERE NOT EXISTS (
        SELECT FROM jsonb_array_elements_text(m.patterns) AS pattern WHERE labels ->> m.label ~ pattern));
COMMENT ON FUNCTION labels_match IS 'Whether of every label one of the regular expressions matches';

CREATE TABLE alert_inhibitors (
    policy text NOT NULL,
    alert_id uuid NOT NULL REFERENCES alerts,
    PRIMARY KEY (policy, alert_id)
);
COMMENT ON TABLE alert_inhibitors IS 'Alerts that mute others while they are open: those that the policy''s "when" meant as they fired.';

-- Open at an instant: it was known by then, and had not ended. What is known later of its end changes nothing.
CREATE FUNCTION alert_gate(alert alerts, at timestamptz) RETURNS text
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
            AND (source.state IN ('firing', 'acknowledged') OR source.resolved_at > at)
            AND coalesce(source.known_at, source.fired_at) <= at AND source.id <> alert.id
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(p.body -> 'same') AS label
                WHERE alert_labels(alert) ->> label IS DISTINCT FROM alert_labels(source) ->> label
                    OR alert_labels(alert) ->> label IS NULL)
    ) AS holders
    ORDER BY rank, until DESC, holder LIMIT 1;
END;
COMMENT ON FUNCTION alert_gate IS 'By what nobody is to be told of an alert at an instant; NULL: by nothing';

CREATE FUNCTION alert_taken_up() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alert_timers (alert_id, procedure, step, due_at, body)
    SELECT a.id, p.id, step.number, a.fired_at + (step.body ->> 'after')::bigint * interval '1 microsecond', step.body
    FROM fired AS f JOIN alerts AS a ON a.id = f.id JOIN desk_policies AS p
        ON p.kind = 'procedure' AND labels_match(p.body -> 'match', alert_labels(a))
    CROSS JOIN LATERAL (
        SELECT number, body FROM jsonb_array_elements(p.body -> 'steps') WITH ORDINALITY AS steps (body, number)
        UNION ALL SELECT 0, jsonb_build_object('after', p.body -> 'repeat') WHERE p.body ->> 'repeat' IS NOT NULL
    ) AS step
    WHERE NOT a.shadow;
    INSERT INTO alert_inhibitors (policy, alert_id)
    SELECT p.id, a.id
    FROM fired AS f JOIN alerts AS a ON a.id = f.id JOIN desk_policies AS p
        ON p.kind = 'inhibit' AND labels_match(p.body -> 'when', alert_labels(a))
    WHERE NOT a.shadow;
    RETURN NULL;
END
$$;
CREATE TRIGGER desk AFTER INSERT ON alerts REFERENCING NEW TABLE AS fired
    FOR EACH STATEMENT EXECUTE FUNCTION alert_taken_up();
