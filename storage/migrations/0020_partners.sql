-- What came late of one vessel may change what is to be said of an alert that names it beside another.
CREATE INDEX alerts_partners ON alerts USING gin ((details -> 'partners')) WHERE details ? 'partners';
