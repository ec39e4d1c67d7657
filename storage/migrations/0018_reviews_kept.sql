-- What a review leaves behind: the engine goes on from what it would hold had nothing come late. The next review must
-- know that, to find again what was told since.
CREATE TABLE rule_reviews (
    rule_id text NOT NULL,
    subject_kind text NOT NULL,
    subject_id bigint NOT NULL,
    rule_version text NOT NULL,
    until timestamptz,
    stands jsonb NOT NULL,
    PRIMARY KEY (rule_id, subject_kind, subject_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE rule_reviews IS 'What the last review of the alerts of a rule and subject came to.';
COMMENT ON COLUMN rule_reviews.rule_version IS 'by which it looked; of another version of the rule it says nothing';
COMMENT ON COLUMN rule_reviews.until IS
    'receive time up to which rows were taken in the order they happened; NULL: the engine went on as it was';
COMMENT ON COLUMN rule_reviews.stands IS 'by alert, the episodes (by the ids their alerts would have) that it stands for';
