-- An alert has one life, in which it may become more or less severe, be revised, or be found to have been none.
ALTER TABLE alert_history ADD COLUMN change text;
UPDATE alert_history SET change = to_state;
ALTER TABLE alert_history ALTER COLUMN change SET NOT NULL;
COMMENT ON COLUMN alert_history.change IS
    'what happened: firing, escalated, deescalated, revised, acknowledged, retracted, resolved';

ALTER TABLE alerts ADD COLUMN retracted boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN alerts.retracted IS 'data that came late have shown that it was none';
COMMENT ON COLUMN alerts.severity IS 'as it is now, or was at its end';
