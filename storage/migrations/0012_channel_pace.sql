-- Rate limits and quiet hours of channels: which notifications may wait, and which were sent within the last minute.
ALTER TABLE notifications ADD COLUMN urgency smallint NOT NULL GENERATED ALWAYS AS (greatest(
    CASE payload ->> 'severity' WHEN 'info' THEN 0 WHEN 'warning' THEN 1 WHEN 'major' THEN 2 ELSE
        CASE WHEN payload ->> 'severity' IS NULL THEN 0 ELSE 3 END END,
    CASE payload -> 'details' ->> 'worst_severity' WHEN 'info' THEN 0 WHEN 'warning' THEN 1 WHEN 'major' THEN 2 ELSE
        CASE WHEN payload -> 'details' ->> 'worst_severity' IS NULL THEN 0 ELSE 3 END END
)) STORED;
COMMENT ON COLUMN notifications.urgency IS 'rank of the worst severity that its alert has had: 0 info ... 3 critical';
COMMENT ON COLUMN notifications.last_error IS 'why it failed; of one sent: who of several did not take it';
CREATE INDEX notifications_sent ON notifications (channel, sent_at) WHERE state = 'sent';
