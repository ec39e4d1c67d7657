"""The real parts on one machine without Docker: TimescaleDB, mosquitto, Prometheus and Alertmanager.

``services.local`` runs them from a private Debian root (``services.debian_root``); ``services.fallback`` runs a plain
PostgreSQL and a broker from Python wheels where there is no root or no Debian. Every server is one class with
``start() / stop() / kill() / restart()``, listens on loopback only and keeps its files in one folder.
"""
