"""The writer's statements on everything but observations.

Each takes its rows as one JSON array, spread by ``jsonb_to_recordset``: a batch has few of them, their columns are of
many types, and one parameter keeps each a single prepared statement. Doing any of them twice is doing it once.
"""

from __future__ import annotations

from typing import Final

UPSERT_SOURCES: Final = b"""
INSERT INTO sources (id, name, kind)
SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (id bigint, name text, kind text)
ORDER BY id ON CONFLICT DO NOTHING
"""

UPSERT_METRICS: Final = b"""
INSERT INTO metrics (id, name)
SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (id bigint, name text)
ORDER BY id ON CONFLICT DO NOTHING
"""

UPSERT_DEVICES: Final = b"""
INSERT INTO devices AS d (id, gateway, name, first_seen)
SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (id bigint, gateway text, name text, first_seen timestamptz)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET first_seen = least(d.first_seen, excluded.first_seen)
WHERE d.first_seen IS NULL OR excluded.first_seen < d.first_seen
"""

#: Of the later hour, or within one hour the earlier time, is the ``last_seen`` that stands: see migration 0007.
_UPSERT_TRANSPONDERS: Final = b"""
INSERT INTO transponders AS t (id, kind, identifier, mmsi, mmsi_class, first_seen, last_seen)
%b
ON CONFLICT (id) DO UPDATE
SET first_seen = least(t.first_seen, excluded.first_seen),
    last_seen = CASE WHEN (date_bin('1 hour', excluded.last_seen, 'epoch'), t.last_seen)
        > (date_bin('1 hour', t.last_seen, 'epoch'), excluded.last_seen) OR t.last_seen IS NULL
        THEN excluded.last_seen ELSE t.last_seen END
WHERE excluded.first_seen < t.first_seen OR t.first_seen IS NULL OR t.last_seen IS NULL
    OR (date_bin('1 hour', excluded.last_seen, 'epoch'), t.last_seen)
    > (date_bin('1 hour', t.last_seen, 'epoch'), excluded.last_seen)
"""

#: Whose id is an MMSI: of that alone, and the names of all classes with the place of each one's among them, from 1.
UPSERT_AIS_TRANSPONDERS: Final = (
    _UPSERT_TRANSPONDERS
    % b"""
SELECT id, 'ais', lpad(id::text, 9, '0'), id, (%s::text[])[class], first_seen, last_seen
FROM unnest(%s::bigint[], %s::smallint[], %s::timestamptz[], %s::timestamptz[])
    AS u (id, class, first_seen, last_seen)
"""
)

UPSERT_OTHER_TRANSPONDERS: Final = (
    _UPSERT_TRANSPONDERS
    % b"""
SELECT id, kind, identifier, NULL, NULL, first_seen, last_seen
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS u (id, kind, identifier, first_seen, last_seen)
"""
)

FIRE_ALERTS: Final = b"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (
        id uuid, rule_id text, rule_version text, subject_kind text, subject_id bigint, subject_name text, key text,
        severity text, started_at timestamptz, at timestamptz, value double precision, zone_id text,
        lon double precision, lat double precision, summary_en text, summary_vi text, details jsonb, shadow boolean,
        known_at timestamptz, channels text[])
), inserted AS (
    INSERT INTO alerts (id, rule_id, rule_version, subject_kind, subject_id, subject_name, key, state, severity,
        started_at, fired_at, last_at, value, zone_id, lon, lat, summary_en, summary_vi, details, shadow, known_at,
        channels)
    SELECT id, rule_id, rule_version, subject_kind, subject_id, subject_name, key, 'firing', severity,
        started_at, at, at, value, zone_id, lon, lat, summary_en, summary_vi, details, shadow, known_at, channels
    FROM given ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, shadow
), history AS (
    INSERT INTO alert_history (alert_id, seq, at, actor, to_state, change, details)
    SELECT id, 1, at, 'engine', 'firing', 'firing', details || jsonb_strip_nulls(
        jsonb_build_object('value', value, 'summary_en', summary_en, 'summary_vi', summary_vi,
            'severity', severity, 'channels', channels))
    FROM given JOIN inserted USING (id)
)
SELECT count(*) FROM inserted WHERE NOT shadow
"""

#: Escalated, de-escalated, revised: one change of each alert at most. What is worse than it was wants to be seen anew,
#: whether somebody has seen it or ended it; but not what is closed. What was revised and lasts after all is open again.
#: What is in the history is not done a second time. What was before is told from the row as locked: an acknowledgement
#: by a person may be committed between two looks at the table.
CHANGE_ALERTS: Final = b"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (
        id uuid, change text, state text, severity text, at timestamptz, known timestamptz,
        value double precision, zone_id text,
        lon double precision, lat double precision, summary_en text, summary_vi text, details jsonb)
), locked AS MATERIALIZED (
    SELECT a.id, a.state, a.severity, a.retracted, a.resolved_by
    FROM alerts AS a JOIN given USING (id) ORDER BY a.id FOR UPDATE OF a
), judged AS (
    SELECT locked.*, CASE given.change
            WHEN 'escalated' THEN locked.state IN ('acknowledged', 'resolved') AND NOT locked.retracted
            WHEN 'revised' THEN
                locked.state = 'resolved' AND given.state = 'firing' AND locked.resolved_by = 'engine'
                OR locked.state IN ('acknowledged', 'resolved') AND given.state = 'firing'
                    AND array_position('{info,warning,major,critical}', given.severity)
                        > array_position('{info,warning,major,critical}', locked.severity)
        END AS opens
    FROM given JOIN locked USING (id)
), changed AS (
    UPDATE alerts AS a
    SET severity = given.severity, value = given.value, zone_id = given.zone_id, lon = given.lon, lat = given.lat,
        summary_en = given.summary_en, summary_vi = given.summary_vi, details = given.details,
        state = CASE WHEN locked.opens THEN 'firing' ELSE a.state END,
        resolved_at = CASE WHEN NOT coalesce(locked.opens, false) THEN a.resolved_at END,
        resolved_by = CASE WHEN NOT coalesce(locked.opens, false) THEN a.resolved_by END,
        ended_known_at = CASE WHEN NOT coalesce(locked.opens, false) THEN a.ended_known_at END,
        retracted = a.retracted AND given.change <> 'revised',
        told = a.told IS NOT FALSE
            OR given.change = 'escalated' AND coalesce(current_setting('haidang.tells', true), '') <> 'off',
        changed_known_at = greatest(a.changed_known_at, given.known),
        last_at = greatest(a.last_at, given.at), revision = a.revision + 1
    FROM given JOIN judged AS locked USING (id)
    WHERE a.id = given.id AND NOT EXISTS (
        SELECT FROM alert_history AS h WHERE (h.alert_id, h.change, h.at) = (given.id, given.change, given.at))
    RETURNING a.id, a.revision, a.state, locked.state AS from_state, locked.severity AS from_severity
), history AS (
    INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, details)
    SELECT id, revision, at, 'engine', from_state, changed.state, change, details || jsonb_strip_nulls(
        jsonb_build_object('value', value, 'summary_en', summary_en, 'summary_vi', summary_vi,
            'severity', given.severity, 'from_severity', from_severity))
    FROM given JOIN changed USING (id)
)
SELECT count(*) FROM changed
"""

#: Resolved or retracted. What was resolved can still be retracted, by data that came later yet.
RESOLVE_ALERTS: Final = b"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (
        id uuid, change text, at timestamptz, known timestamptz, severity text, value double precision, summary_en text,
        summary_vi text, details jsonb)
), locked AS MATERIALIZED (
    SELECT a.id, a.state FROM alerts AS a JOIN given USING (id) ORDER BY a.id FOR UPDATE OF a
), changed AS (
    UPDATE alerts AS a
    SET state = CASE WHEN a.state = 'closed' THEN 'closed' ELSE 'resolved' END,
        resolved_at = coalesce(a.resolved_at, given.at), resolved_by = coalesce(a.resolved_by, 'engine'),
        ended_known_at = CASE WHEN a.resolved_at IS NULL THEN given.known ELSE a.ended_known_at END,
        changed_known_at = greatest(a.changed_known_at, given.known),
        last_at = greatest(a.last_at, given.at),
        retracted = given.change = 'retracted', revision = a.revision + 1
    FROM given JOIN locked USING (id)
    WHERE a.id = given.id
        AND (a.state IN ('firing', 'acknowledged') OR given.change = 'retracted' AND NOT a.retracted)
    RETURNING a.id, a.revision, a.state, locked.state AS from_state
), history AS (
    INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, details)
    SELECT id, revision, at, 'engine', from_state, changed.state, change, details || jsonb_strip_nulls(
        jsonb_build_object('value', value, 'summary_en', summary_en, 'summary_vi', summary_vi,
            'severity', severity))
    FROM given JOIN changed USING (id)
)
SELECT count(*) FROM changed
"""

#: Which incidents alerts are of: see migration 0025. Between firing and all other changes of a batch, for what it adds
#: to the history of an alert is to follow its firing, whatever else the batch holds.
JOIN_INCIDENTS: Final = b"""
WITH given AS (SELECT %s::text::jsonb AS said)
SELECT incidents_join(ARRAY(SELECT jsonb_array_elements_text(said -> 'touched')::uuid), said -> 'ended') FROM given
"""
SETTLE_INCIDENTS: Final = b"""
SELECT incidents_settle(ARRAY(SELECT jsonb_array_elements_text(%s::text::jsonb)::uuid))
"""

#: What came late may change what is to be said of alerts of its time, about its subject or others that they name
#: (``partners``); a rule may look that far around its alert.
ASK_FOR_REVIEWS: Final = b"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (
        kind text, subject bigint, since timestamptz, until timestamptz)
)
INSERT INTO alert_reviews AS r (alert_id, since, until)
SELECT a.id, min(given.since), max(given.until)
FROM given CROSS JOIN LATERAL (
    SELECT id, started_at, resolved_at FROM alerts
    WHERE (subject_kind, subject_id) = (given.kind, given.subject)
    UNION ALL
    SELECT id, started_at, resolved_at FROM alerts
    WHERE details ? 'partners' AND details -> 'partners' ? given.subject::text AND given.kind = 'transponder') AS a
WHERE a.started_at <= given.until + interval '1 day'
    AND (a.resolved_at IS NULL OR a.resolved_at >= given.since - interval '1 day')
GROUP BY a.id ORDER BY a.id
ON CONFLICT (alert_id) DO UPDATE SET asked = r.asked + 1, asked_at = now(),
    since = least(r.since, excluded.since), until = greatest(r.until, excluded.until)
"""

#: The channel on which the outbox is told that there is something to send.
OUTBOX_CHANNEL: Final = "haidang_outbox"

#: Of an alert whose rule names its channels, no other is told; but for whom a step of a procedure names. Of one that a
#: replay found, nobody is told but what people do to it.
_GIVEN: Final = b"""
    SELECT t.* FROM jsonb_to_recordset(%s::text::jsonb) AS t (
        id uuid, alert_id uuid, channel text, event text, at timestamptz, payload jsonb, named boolean,
        if_told boolean, known timestamptz, groups boolean)
    LEFT JOIN alerts AS a ON a.id = t.alert_id
    WHERE (a.told IS NOT FALSE OR t.event IN ('acknowledged', 'unacknowledged', 'assigned', 'commented', 'closed'))
        AND (a.channels IS NULL OR t.channel = ANY(a.channels) OR t.named)
"""
#: Nobody is told of what was not done: somebody had ended the alert, and it did not become worse. Who was told of an
#: alert is told what becomes of it, however little it matters by then.
_TOLD: Final = b"""
    NOT EXISTS (
        SELECT FROM alert_history AS h
        WHERE (h.alert_id, h.change, h.at, h.actor) = (g.alert_id, g.event, g.at, 'engine')
            AND (h.change IN ('escalated', 'deescalated', 'revised') AND h.to_state = 'closed'
                OR h.change = 'deescalated' AND h.to_state = 'resolved'))
    AND NOT (g.event IN ('resolved', 'retracted')
        AND EXISTS (SELECT FROM alerts AS a WHERE a.id = g.alert_id AND a.state IN ('resolved', 'closed'))
        AND NOT EXISTS (
            SELECT FROM alert_history AS h WHERE (h.alert_id, h.change, h.at) = (g.alert_id, g.event, g.at)))
    AND (NOT g.if_told
        OR EXISTS (
            SELECT FROM notifications AS n
            WHERE (n.alert_id, n.channel) = (g.alert_id, g.channel) AND n.state <> 'muted')
        OR EXISTS (
            SELECT FROM given AS o
            WHERE (o.alert_id, o.channel) = (g.alert_id, g.channel) AND NOT o.if_told AND o.at <= g.at))
"""

#: What is news of an alert. At the time it was known, something may have been in force by which nobody is told of the
#: alert: then it is held. It does not overtake what is held of the same alert and channel, unless by an incident, which
#: is decided after it (``HOLD_GROUPED``); and where nobody was told, nobody is told that it has become less. What a
#: deadline says was decided by what is in force now, and is not held.
QUEUE_NEWS: Final = (
    b"WITH given AS ("
    + _GIVEN
    + b"""
), judged AS (
    SELECT g.*, CASE WHEN g.event NOT IN ('overdue', 'reminded') THEN coalesce(
            alert_gate(a, coalesce(g.known, greatest(g.at, a.known_at))),
            (SELECT min(n.held_by) FROM notifications AS n
             WHERE (n.alert_id, n.channel, n.state) = (g.alert_id, g.channel, 'held')
                AND n.held_by NOT LIKE 'incident %%')) END AS holder,
        g.event IN ('deescalated', 'revised') AND EXISTS (
            SELECT FROM notifications AS n
            WHERE (n.alert_id, n.channel) = (g.alert_id, g.channel)
            HAVING count(*) > 0 AND bool_and(n.state = 'muted')) AS idle
    FROM given AS g LEFT JOIN alerts AS a ON a.id = g.alert_id
    WHERE"""
    + _TOLD
    + b"""
), inserted AS (
    INSERT INTO notifications (id, alert_id, channel, event, at, payload, state, held_by, groups)
    SELECT id, alert_id, channel, event, at, payload,
        CASE WHEN idle THEN 'muted' WHEN holder IS NOT NULL THEN 'held' ELSE 'queued' END, holder, groups
    FROM judged ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), record AS (
    INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
    SELECT alert_id, id, channel, event, state, 0, 'nobody was told before' FROM inserted WHERE state = 'muted'
)
SELECT pg_notify('haidang_outbox', '') FROM inserted WHERE state = 'queued' LIMIT 1
"""
)

#: Of what was queued just now, what an incident makes needless is held.
HOLD_GROUPED: Final = b"SELECT notifications_grouped(%s::text::jsonb, now())"

#: That an alert is over is told to whom it was told that it is there, whatever is in force. To others it is not, nor
#: is what was held for them.
QUEUE_ENDS: Final = (
    b"WITH given AS ("
    + _GIVEN
    + b"""
), judged AS (
    SELECT g.*, (
        SELECT CASE WHEN count(*) FILTER (WHERE n.state NOT IN ('held', 'muted')) > 0 OR count(*) = 0 THEN 'queued'
            ELSE 'muted' END
        FROM notifications AS n WHERE (n.alert_id, n.channel) = (g.alert_id, g.channel) AND n.id <> g.id) AS state
    FROM given AS g
    WHERE"""
    + _TOLD
    + b"""
), inserted AS (
    INSERT INTO notifications (id, alert_id, channel, event, at, payload, state)
    SELECT id, alert_id, channel, event, at, payload, state FROM judged ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), muted AS (
    UPDATE notifications AS n SET state = 'muted' FROM inserted AS i
    WHERE (n.alert_id, n.channel, n.state) = (i.alert_id, i.channel, 'held')
    RETURNING n.*
), record AS (
    INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
    SELECT alert_id, id, channel, event, 'muted', attempts,
        coalesce('over; held by ' || held_by, 'nobody was told before')
    FROM (SELECT * FROM muted UNION ALL SELECT * FROM inserted WHERE state = 'muted') AS m ORDER BY at, id
)
SELECT pg_notify('haidang_outbox', '') FROM inserted WHERE state = 'queued' LIMIT 1
"""
)

#: Of alerts that are there: one of a rule that is only a condition is not.
INSERT_ALERT_MESSAGES: Final = b"""
INSERT INTO alert_messages (alert_id, received_at, message, source_id, origin, format, per_line, raw, size)
SELECT alert_id, received_at, message, source_id, origin, format, per_line, decode(raw, 'hex'), size
FROM jsonb_to_recordset(%s::text::jsonb) AS t (
    alert_id uuid, received_at timestamptz, message integer, source_id bigint, origin text, format text,
    per_line boolean, raw text, size bigint)
WHERE EXISTS (SELECT FROM alerts AS a WHERE a.id = t.alert_id)
ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""

INSERT_QUARANTINE: Final = b"""
INSERT INTO quarantine (id, received_at, source_id, origin, reason, detail, line, raw, size, sha256)
SELECT id, received_at, source_id, origin, reason, detail, line, decode(raw, 'hex'), size, decode(sha256, 'hex')
FROM jsonb_to_recordset(%s::text::jsonb) AS t (
    id uuid, received_at timestamptz, source_id bigint, origin text, reason text, detail text, line integer,
    raw text, size bigint, sha256 text)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id
"""

UPSERT_RULE_STATE: Final = b"""
INSERT INTO rule_state (rule_id, subject_kind, subject_id, key, state)
SELECT * FROM jsonb_to_recordset(%s::text::jsonb) AS t (
    rule_id text, subject_kind text, subject_id bigint, key text, state jsonb)
ORDER BY 1, 2, 3, 4
ON CONFLICT (rule_id, subject_kind, subject_id, key) DO UPDATE SET state = excluded.state
"""

DELETE_RULE_STATE: Final = b"""
DELETE FROM rule_state AS r
USING jsonb_to_recordset(%s::text::jsonb) AS t (rule_id text, subject_kind text, subject_id bigint, key text)
WHERE (r.rule_id, r.subject_kind, r.subject_id, r.key) = (t.rule_id, t.subject_kind, t.subject_id, t.key)
"""

DELETE_FRAGMENTS: Final = b"DELETE FROM fragments WHERE instance = %s"

INSERT_FRAGMENTS: Final = b"""
INSERT INTO fragments (instance, seq, source_id, origin, received_at, per_line, line, data)
SELECT instance, seq, source_id, origin, received_at, per_line, line, decode(data, 'hex')
FROM jsonb_to_recordset(%s::text::jsonb) AS t (
    instance text, seq integer, source_id bigint, origin text, received_at timestamptz, per_line boolean, line integer,
    data text)
"""

UPSERT_PROGRESS: Final = b"""
INSERT INTO progress AS p (instance, received_at, token) VALUES (%s, %s, %s)
ON CONFLICT (instance) DO UPDATE
SET received_at = greatest(p.received_at, excluded.received_at), token = excluded.token
"""

#: The token last committed. Changes nothing, but waits like a writer for a transaction that is still under way.
LAST_TOKEN: Final = b"""
INSERT INTO progress AS p (instance) VALUES (%s)
ON CONFLICT (instance) DO UPDATE SET token = p.token RETURNING token
"""
