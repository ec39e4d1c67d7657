-- What tells whether a commit happened whose answer was lost on the wire: the token of the last one.
--
-- Not the transaction's id: one that a crash took with it is given again to another transaction, whose commit would
-- then pass for that of the lost one.

ALTER TABLE progress ADD COLUMN token uuid;
ALTER TABLE progress ALTER COLUMN received_at DROP NOT NULL;
COMMENT ON TABLE progress IS 'How far each ingesting process has committed.';
COMMENT ON COLUMN progress.received_at IS 'the latest receive time committed; NULL: none yet';
COMMENT ON COLUMN progress.token IS 'drawn for each transaction: the one last committed';
COMMENT ON COLUMN positions.rot IS
    'rate of turn, degrees per minute, + is to starboard; 708 means 708 or more, 127 turning at more than 5 degrees in 30 s as told without a turn indicator';
