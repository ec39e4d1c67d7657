-- What the writer no longer does for each row it writes.
COMMENT ON COLUMN transponders.last_seen IS
    'when it was first heard within the last hour (of UTC) in which it was heard: so it is written once an hour, not with each row. To the second: latest_positions';
