-- The geometry of an area once more, in a form that is read twenty times as fast as JSON: with 1,000 zones a service
-- started, and took over an edit, a third of a second later for it.

ALTER TABLE zones ADD COLUMN shape bytea;
COMMENT ON COLUMN zones.shape IS
    'the same geometry as WKB (OGC 06-103r4), of polygons: read in place of it; NULL: it is to be read';

-- Whoever draws a zone anew in SQL need not know of it.
CREATE FUNCTION zone_redrawn() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.geometry IS DISTINCT FROM OLD.geometry AND NEW.shape IS NOT DISTINCT FROM OLD.shape THEN
        NEW.shape := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER redrawn BEFORE UPDATE OF geometry ON zones FOR EACH ROW EXECUTE FUNCTION zone_redrawn();
