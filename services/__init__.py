"""The real parts on one machine without Docker: TimescaleDB, mosquitto, Prometheus, Alertmanager."""
