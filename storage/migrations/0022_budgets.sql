-- How many alerts a rule may tell of in a shift before somebody is warned that it tells of too many. Counted in the
-- transaction that fires them, by when they became known.

CREATE TABLE alert_budgets (
    policy text NOT NULL,
    rule_id text NOT NULL,
    shift_start timestamptz NOT NULL,
    alerts integer NOT NULL,
    per_shift integer NOT NULL,
    exceeded_by uuid REFERENCES alerts,
    warned_at timestamptz,
    PRIMARY KEY (policy, rule_id, shift_start)
);
COMMENT ON TABLE alert_budgets IS 'Alerts that rules fired in each shift, for rules that a policy gives a budget.';
COMMENT ON COLUMN alert_budgets.per_shift IS 'alerts that the budget allows for, as the policy said then';
COMMENT ON COLUMN alert_budgets.exceeded_by IS 'the first alert beyond the budget; NULL: it is kept';
COMMENT ON COLUMN alert_budgets.warned_at IS 'when the desk has said so; NULL: not yet';
CREATE INDEX alert_budgets_exceeded ON alert_budgets (shift_start) WHERE exceeded_by IS NOT NULL AND warned_at IS NULL;

-- "shifts" of a policy are seconds after midnight at which duty changes, "offset" how many seconds east of UTC.
CREATE FUNCTION shift_start(body jsonb, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN (
    SELECT max(to_timestamp(day * 86400 + change::double precision - (body ->> 'offset')::double precision))
    FROM generate_series(
            floor((extract(epoch FROM at) + (body ->> 'offset')::numeric) / 86400)::bigint - 1,
            floor((extract(epoch FROM at) + (body ->> 'offset')::numeric) / 86400)::bigint) AS day,
        jsonb_array_elements_text(body -> 'shifts') AS change
    WHERE to_timestamp(day * 86400 + change::double precision - (body ->> 'offset')::double precision) <= at);
COMMENT ON FUNCTION shift_start IS 'When the shift began in which an instant lies';

CREATE FUNCTION alert_budgeted() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    alert alerts;
BEGIN
    FOR alert IN
        SELECT a.* FROM fired AS f JOIN alerts AS a ON a.id = f.id WHERE a.told IS NOT FALSE AND NOT a.shadow
        ORDER BY coalesce(a.known_at, a.fired_at), a.id
    LOOP
        INSERT INTO alert_budgets AS b (policy, rule_id, shift_start, alerts, per_shift)
        SELECT p.id, alert.rule_id, shift_start(p.body, coalesce(alert.known_at, alert.fired_at)), 1,
            (p.body ->> 'per_shift')::integer
        FROM desk_policies AS p
        WHERE p.kind = 'budget' AND labels_match(p.body -> 'match', alert_labels(alert))
        ORDER BY p.id
        ON CONFLICT (policy, rule_id, shift_start) DO UPDATE SET alerts = b.alerts + 1,
            exceeded_by = CASE WHEN b.alerts = b.per_shift THEN alert.id ELSE b.exceeded_by END;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER desk_budgets AFTER INSERT ON alerts REFERENCING NEW TABLE AS fired
    FOR EACH STATEMENT EXECUTE FUNCTION alert_budgeted();
