"""Judging again: a span under other rules, an alert with rows that came late, the evidence for one alert."""
