-- The service may make room in quarantine without the rights of its owner: the oldest of one source and reason, counted,
-- and only while quarantine is large. Bound when it is created, it means these tables, whatever its caller's search path.
CREATE FUNCTION quarantine_evict(source bigint, why text, until timestamptz, last uuid, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    WITH gone AS (
        DELETE FROM quarantine WHERE ctid = ANY(ARRAY(
            SELECT q.ctid FROM quarantine AS q
            WHERE q.source_id = source AND q.reason = why AND (q.received_at, q.id) <= (until, last)
                AND pg_total_relation_size('quarantine'::regclass) > 1048576
            ORDER BY q.received_at, q.id LIMIT most))
        RETURNING received_at, size
    ), counted AS (
        SELECT count(*) AS messages, sum(size)::bigint AS bytes, max(received_at) AS last FROM gone
    )
    INSERT INTO quarantine_evicted AS e (source_id, reason, messages, bytes, last_received_at)
    SELECT source, why, c.messages, c.bytes, c.last FROM counted AS c WHERE c.messages > 0
    ON CONFLICT (source_id, reason) DO UPDATE SET messages = e.messages + excluded.messages,
        bytes = e.bytes + excluded.bytes, evicted_at = now(),
        last_received_at = greatest(e.last_received_at, excluded.last_received_at)
    RETURNING (SELECT counted.messages FROM counted);
END;
COMMENT ON FUNCTION quarantine_evict IS
    'Deletes the oldest refused messages of a source and reason, at most so many; how many went. NULL: none are left.';
REVOKE ALL ON FUNCTION quarantine_evict FROM PUBLIC;
