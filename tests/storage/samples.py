"""Batches to write, and the tables they leave."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg import sql

from alerting.model import AlertState, Severity, Subject, SubjectKind, Transition, Verdict, alert_id
from decoders.identity import device_id, metric_id, source_id, transponder_id
from decoders.records import (
    NULL_I1,
    NULL_I2,
    NULL_I4,
    POSITION,
    READING,
    STATIC,
    AisRecord,
    Name,
    Observations,
    Reason,
    Reject,
    table,
)
from storage.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from decoders.records import Table

T0 = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
SECOND = 1_000_000
SOURCE = source_id("receiver")
OTHER_SOURCE = source_id("other receiver")
GATEWAY, DEVICE, METRIC = "gate", "river-1", "water_level"
DEVICE_ID, METRIC_ID = device_id(GATEWAY, DEVICE), metric_id(METRIC)
VMS_ID = transponder_id("vms", "HUE-0012")
NAMES = [
    Name("source", SOURCE, "receiver", "nmea"),
    Name("source", OTHER_SOURCE, "other receiver", "nmea"),
    Name("device", DEVICE_ID, f"{GATEWAY}/{DEVICE}"),
    Name("metric", METRIC_ID, METRIC),
    Name("transponder", VMS_ID, "HUE-0012", "vms"),
]
SUBJECT = Subject(SubjectKind.DEVICE, DEVICE_ID, f"{GATEWAY}/{DEVICE}")


def positions(*rows: dict[str, Any]) -> Table:
    """POSITION rows, everything that may be null being null unless said."""
    out = np.zeros(len(rows), POSITION)
    for number, row in enumerate(rows):
        time = row.get("time", T0 + number * SECOND)
        full = {
            "time": time,
            "received_at": time + 500,
            "transponder": 574_000_001,
            "digest": number,
            "source": SOURCE,
            "lon": 107.6,
            "lat": 16.5,
            "sog": np.nan,
            "cog": np.nan,
            "altitude": np.nan,
            "rot": np.nan,
            "heading": NULL_I2,
            "nav_status": NULL_I1,
            "accuracy": NULL_I1,
            "msg_type": 1,
            "message": number,
        } | row
        out[number] = tuple(full[name] for name in POSITION.names or ())
    return out


def statics(*rows: dict[str, Any]) -> Table:
    """STATIC rows, likewise."""
    out = np.zeros(len(rows), STATIC)
    for number, row in enumerate(rows):
        time = row.get("time", T0 + number * SECOND)
        full = {
            "time": time,
            "received_at": time + 500,
            "transponder": 574_000_001,
            "digest": number,
            "source": SOURCE,
            "imo": NULL_I4,
            "ship_type": NULL_I2,
            "to_bow": NULL_I2,
            "to_stern": NULL_I2,
            "to_port": NULL_I2,
            "to_starboard": NULL_I2,
            "draught": np.nan,
            "name": None,
            "callsign": None,
            "destination": None,
            "eta": None,
            "msg_type": 24,
            "message": number,
        } | row
        out[number] = tuple(full[name] for name in STATIC.names or ())
    return out


def readings(*rows: tuple[int, float]) -> Table:
    """READING rows of one device and metric from (seconds after T0, value)."""
    return table(
        READING,
        [
            (T0 + seconds * SECOND, T0 + number, DEVICE_ID, METRIC_ID, SOURCE, value, number)
            for number, (seconds, value) in enumerate(rows)
        ],
    )


def record(digest: int = 7, **fields: Any) -> AisRecord:
    return AisRecord(T0, T0 + 5, 992_000_001, digest, SOURCE, 21, "aton", {"name": "BUOY"} | fields, 0)


def reject(raw: bytes = b"!AIVDM,rubbish", **changes: Any) -> Reject:
    values: dict[str, Any] = {
        "message": 0,
        "reason": Reason.BAD_CHECKSUM,
        "raw": raw,
        "received_at": T0,
        "source": SOURCE,
        "origin": "log.nmea",
        "detail": "expected 4A, found 4B",
        "line": 3,
    } | changes
    return Reject(**values)


def transition(state: AlertState = AlertState.FIRING, at: int = T0, started_at: int = T0, **changes: Any) -> Transition:
    values: dict[str, Any] = {
        "alert_id": alert_id("flood", SUBJECT, METRIC, started_at),
        "rule_id": "flood",
        "rule_version": "0123456789ab",
        "subject": SUBJECT,
        "key": METRIC,
        "state": state,
        "severity": Severity.MAJOR,
        "at": at,
        "started_at": started_at,
        "summary_en": "Water at 3.6 m",
        "summary_vi": "Mực nước 3,6 m",
        "value": 3.6,
        "zone_id": None,
        "lon": None,
        "lat": None,
        "details": {"unit": "m", "threshold": 3.5},
    } | changes
    return Transition(**values)


def batch(verdict: Verdict | None = None, notifications: Any = (), fragments: Any = None, **observed: Any) -> Batch:
    observations = Observations(names=list(NAMES), **observed)
    lists = (observations.positions, observations.readings, observations.statics, observations.records)
    observations.messages = max(len(rows) for rows in lists)
    return Batch(observations, verdict or Verdict(), notifications, fragments)


@contextmanager
def connected(dsn: str) -> Iterator[Connection[tuple[Any, ...]]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection


def ask(dsn: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connected(dsn) as connection:
        return connection.execute(query.encode(), parameters or None).fetchall()


@contextmanager
def full(dsn: str, table: str) -> Iterator[None]:
    """Whoever writes to the table is told that the disk is full."""
    with connected(dsn) as connection:
        connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
        )
        trigger = sql.SQL("CREATE TRIGGER full_disk BEFORE INSERT ON {} EXECUTE FUNCTION full_disk()")
        connection.execute(trigger.format(sql.Identifier(table)))
        yield
        connection.execute("DROP FUNCTION full_disk CASCADE")


#: What the same input must leave equal, whatever happened on the way; clocks of the server are left out.
_COLUMNS = {
    "progress": "instance, received_at",  # and a token drawn for each transaction
    "alert_history": "alert_id, seq, at, actor, from_state, to_state, note, details::text",
    "notifications": "id, alert_id, channel, event, at, payload::text, state",
}
TABLES = (
    "sources",
    "devices",
    "transponders",
    "positions",
    "readings",
    "statics",
    "ais_messages",
    "receptions",
    "latest_positions",
    "latest_readings",
    "alerts",
    "alert_history",
    "notifications",
    "quarantine",
    "rule_state",
    "fragments",
    "progress",
)


def contents(dsn: str) -> dict[str, list[str]]:
    """Every row of every table, as text, in an order of its own."""
    found: dict[str, list[str]] = {}
    with connected(dsn) as connection:
        for name in TABLES:
            columns = _COLUMNS.get(name, "*")
            query = sql.SQL("SELECT t::text FROM (SELECT {} FROM {}) AS t ORDER BY 1").format(
                sql.SQL(columns), sql.Identifier(name)
            )
            found[name] = [text for (text,) in connection.execute(query)]
    return found
