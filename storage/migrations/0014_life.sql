-- What people do with an alert beside acknowledging and resolving it: somebody is charged with it, something is said
-- about it, and in the end it is closed with a verdict.
ALTER TABLE alerts DROP CONSTRAINT alerts_state_check;
ALTER TABLE alerts ADD CONSTRAINT alerts_state_check
    CHECK (state IN ('firing', 'acknowledged', 'resolved', 'closed'));
ALTER TABLE alerts ADD COLUMN assignee text;
ALTER TABLE alerts ADD COLUMN closed_at timestamptz;
ALTER TABLE alerts ADD COLUMN closed_by text;
ALTER TABLE alerts ADD COLUMN verdict text CHECK (verdict IN ('confirmed', 'false', 'duplicate', 'test'));
COMMENT ON COLUMN alerts.assignee IS 'who is charged with it; NULL: nobody';
COMMENT ON COLUMN alerts.closed_by IS 'who closed it; "desk" where it was closed for having been over for long';
COMMENT ON COLUMN alerts.verdict IS 'what it was found to be when it was closed; NULL: nobody has said';
COMMENT ON COLUMN alert_history.change IS
    'what happened: firing, escalated, deescalated, revised, acknowledged, unacknowledged, assigned, commented, retracted, resolved, closed';

DROP INDEX alerts_open;
CREATE INDEX alerts_open ON alerts (started_at DESC) WHERE state IN ('firing', 'acknowledged');
CREATE INDEX alerts_over ON alerts (resolved_at) WHERE state = 'resolved';
