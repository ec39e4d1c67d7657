"""Bytes in, tables of observations and typed rejects out: no clock, no socket, no log."""
