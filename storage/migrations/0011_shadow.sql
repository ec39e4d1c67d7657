-- Rules that are tried out are judged like all others, and their alerts kept apart: nobody is told of them.
ALTER TABLE alerts ADD COLUMN shadow boolean NOT NULL DEFAULT false;
ALTER TABLE alerts ADD COLUMN known_at timestamptz;
COMMENT ON COLUMN alerts.shadow IS 'of a rule that is tried out: nobody is told, and it is not among the open alerts';
COMMENT ON COLUMN alerts.known_at IS
    'when it became known, by receive time: of the row it follows from, or when a timer ran out; NULL: before this was kept';
