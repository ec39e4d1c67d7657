-- Alerts to be looked at again, because rows of their time and subject came late.
CREATE TABLE alert_reviews (
    alert_id uuid PRIMARY KEY REFERENCES alerts,
    asked integer NOT NULL DEFAULT 1,
    asked_at timestamptz NOT NULL DEFAULT now(),
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE alert_reviews IS 'Alerts of whose time and subject rows came late: to be judged again over what is stored.';
COMMENT ON COLUMN alert_reviews.asked IS 'how often; tells whether more came while it was looked at';
COMMENT ON COLUMN alert_reviews.asked_at IS 'when last, by the server''s clock';
COMMENT ON COLUMN alert_reviews.since IS 'least event time of what came late';
COMMENT ON COLUMN alert_reviews.until IS 'greatest event time of what came late';
CREATE INDEX alert_reviews_asked_at ON alert_reviews (asked_at);
