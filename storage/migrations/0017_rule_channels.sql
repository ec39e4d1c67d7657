-- Whom a rule wants told of its alerts stays with each of them, whatever becomes of the rule.
ALTER TABLE alerts ADD COLUMN channels text[];
COMMENT ON COLUMN alerts.channels IS
    'the only channels that are told of it, as its rule said when it fired; NULL: all that want to be';
