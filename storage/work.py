"""A batch made ready for its transaction: rows encoded, state as JSON, parameters in place. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from alerting.model import AlertState
from decoders.identity import mmsi_class
from storage import statements, tables
from storage.arrays import BigintArray, TimestampArray
from storage.columns import encode
from storage.errors import RowRefused
from storage.payload import json_text, notification_rows
from storage.quarantine import Refusal, refusal
from storage.rows import fresh, leaders, newest, spans
from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from decoders.records import AisRecord, Name
    from storage.batch import Batch
    from storage.known import Known
    from storage.tables import Table

#: AIS transponder ids are MMSIs; all others have bit 62 set (decoders.identity).
_MMSI_END: Final = 1_000_000_000


@dataclass(slots=True)
class StagedRows:
    """One table's part of a batch: the rows to stage, and how to tell about all of them afterwards."""

    table: Table
    insert: bytes
    data: bytes
    lead: NDArray[np.intp]  # for each row of the batch, the first row with its key

    def fate(self, taken: Sequence[int]) -> NDArray[np.bool_]:
        """True where a row is new, given the indexes of staged rows that were there already."""
        new: NDArray[np.bool_] = self.lead == np.arange(len(self.lead))
        new[list(taken)] = False
        return new


@dataclass(slots=True)
class Work:
    """A batch made ready: nothing is computed while the transaction is open but what its answers decide."""

    batch: Batch
    rows: dict[str, StagedRows] = field(default_factory=dict)
    before: list[tuple[bytes, tuple[Any, ...]]] = field(default_factory=list)  # dimensions
    after: list[tuple[bytes, tuple[Any, ...]]] = field(default_factory=list)  # state
    fires: str | None = None
    resolves: str | None = None
    refusals: list[Refusal] = field(default_factory=list)  # one per reject
    learned: list[tuple[str, int, int | None]] = field(default_factory=list)
    received: int | None = None  # the latest receive time in it


def prepare(batch: Batch, known: Known, instance: str) -> Work:
    """Encode everything.

    Raises:
        RowRefused: a value cannot be encoded (a lone surrogate, a time outside the years 1..9999, NaN in JSON).
    """
    work = Work(batch)
    try:
        _prepare_rows(work)
        _prepare_names(work, known)
        _prepare_transponders(work)
        _prepare_decisions(work)
        _prepare_state(work, instance)
    except (UnicodeEncodeError, OverflowError, orjson.JSONEncodeError) as error:
        raise RowRefused(str(error)) from error
    work.refusals = [refusal(reject) for reject in batch.observations.rejects]
    return work


def _prepare_rows(work: Work) -> None:
    observations = work.batch.observations
    positions, readings, statics = observations.positions, observations.readings, observations.statics
    if len(positions):
        lead = leaders(positions["transponder"], positions["time"], positions["digest"])
        _add(work, tables.POSITIONS, tables.INSERT_POSITIONS, positions, lead, _latest("transponder"))
        work.after.append((tables.UPSERT_LATEST_POSITIONS, ()))
    if len(readings):
        lead = leaders(readings["device"], readings["metric"], readings["time"])
        _add(work, tables.READINGS, tables.INSERT_READINGS, readings, lead, _latest("device", "metric"))
        work.after.append((tables.UPSERT_LATEST_READINGS, ()))
    if len(statics):
        lead = leaders(statics["transponder"], statics["time"], statics["digest"])
        _add(work, tables.STATICS, tables.INSERT_STATICS, statics, lead, _fresh)
    if len(observations.receptions):
        heard = observations.receptions
        lead = leaders(heard["transponder"], heard["time"], heard["digest"], heard["source"])
        _add(work, tables.RECEPTIONS, tables.INSERT_RECEPTIONS, heard, lead, None)
    if observations.records:
        columns = _record_columns(observations.records)
        lead = leaders(columns["transponder"], columns["time"], columns["digest"])
        _add(work, tables.AIS_MESSAGES, tables.INSERT_AIS_MESSAGES, columns, lead, None)


def _latest(*subject: str) -> Any:
    return lambda rows: newest(rows["time"], *(rows[name] for name in subject))


def _fresh(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    return fresh(rows["time"], rows["transponder"])


def _add(work: Work, table: Table, insert: bytes, data: Any, lead: NDArray[np.intp], flag: Any) -> None:
    chosen = np.flatnonzero(lead == np.arange(len(lead)))
    staged = {column.field: data[column.field][chosen] for column in table.columns}
    if flag is not None and table.flag is not None:
        staged[table.flag.field] = flag(staged)
    staged["n"] = chosen
    work.rows[table.name] = StagedRows(table, insert, encode(table.staged, staged, len(chosen)), lead)


def _record_columns(records: Sequence[AisRecord]) -> dict[str, NDArray[Any]]:
    def numbers(name: str) -> NDArray[np.int64]:
        return np.array([getattr(record, name) for record in records], dtype=np.int64)

    texts = np.empty((2, len(records)), dtype=object)
    for row, record in enumerate(records):
        texts[0, row] = record.kind
        texts[1, row] = json_text(record.fields)
    names = ("time", "received_at", "transponder", "digest", "source", "msg_type")
    return {name: numbers(name) for name in names} | {"kind": texts[0], "fields": texts[1]}


def _prepare_names(work: Work, known: Known) -> None:
    """Names behind ids, where new; and the least event time of each device."""
    sources: dict[int, dict[str, Any]] = {}
    metrics: dict[int, dict[str, Any]] = {}
    devices: dict[int, Name] = {}
    for name in work.batch.observations.names:
        match name.kind:
            case "source" if not known.has("source", name.id):
                sources[name.id] = {"id": name.id, "name": name.name, "kind": name.detail}
            case "metric" if not known.has("metric", name.id):
                metrics[name.id] = {"id": name.id, "name": name.name}
            case "device":
                devices[name.id] = name
    work.learned += [("source", id_, None) for id_ in sources] + [("metric", id_, None) for id_ in metrics]
    if sources:
        work.before.append((statements.UPSERT_SOURCES, (json_text(list(sources.values())),)))
    if metrics:
        work.before.append((statements.UPSERT_METRICS, (json_text(list(metrics.values())),)))
    readings = work.batch.observations.readings
    ids, first, _ = spans(readings["device"], readings["time"])
    seen = dict(zip(ids.tolist(), first.tolist(), strict=True))
    new = []
    for id_, name in devices.items():
        since = seen.get(id_)
        if known.has("device", id_, since):
            continue
        gateway, _, device = name.name.partition("/")
        first_seen = None if since is None else iso(since)
        new.append({"id": id_, "gateway": gateway, "name": device, "first_seen": first_seen})
        work.learned.append(("device", id_, since))
    if new:
        work.before.append((statements.UPSERT_DEVICES, (json_text(new),)))


def _prepare_transponders(work: Work) -> None:
    """Every transponder heard, with the least and greatest event time."""
    observations = work.batch.observations
    heard = [t for t in (observations.positions, observations.statics, observations.receptions) if len(t)]
    ids = [t["transponder"] for t in heard]
    times = [t["time"] for t in heard]
    if observations.records:
        ids.append(np.array([record.transponder for record in observations.records], dtype=np.int64))
        times.append(np.array([record.time for record in observations.records], dtype=np.int64))
    if not ids:
        return
    distinct, first, last = spans(np.concatenate(ids), np.concatenate(times))
    names = {name.id: name for name in observations.names if name.kind == "transponder"}
    kinds: list[str] = []
    identifiers: list[str] = []
    classes: list[str | None] = []
    for id_ in distinct.tolist():
        if 0 <= id_ < _MMSI_END:
            kinds.append("ais")
            identifiers.append(f"{id_:09d}")
            classes.append(_class(id_))
        else:
            name = names.get(id_)
            kinds.append(name.detail if name is not None else "unknown")
            identifiers.append(name.name if name is not None else str(id_))
            classes.append(None)
    arrays = (BigintArray(distinct), kinds, identifiers, classes, TimestampArray(first), TimestampArray(last))
    work.before.append((statements.UPSERT_TRANSPONDERS, arrays))


@lru_cache(maxsize=65_536)
def _class(mmsi: int) -> str:
    return str(mmsi_class(mmsi))


def _prepare_decisions(work: Work) -> None:
    """Alerts and the notifications about them."""
    fires: dict[str, dict[str, Any]] = {}
    resolves: dict[str, dict[str, Any]] = {}
    for transition in work.batch.verdict.transitions:
        id_ = str(transition.alert_id)
        row = {
            "id": id_,
            "at": iso(transition.at),
            "value": transition.value,
            "summary_en": transition.summary_en,
            "summary_vi": transition.summary_vi,
            "details": transition.details,
        }
        if transition.state is AlertState.RESOLVED:
            resolves.setdefault(id_, row)
            continue
        fires.setdefault(
            id_,
            row
            | {
                "rule_id": transition.rule_id,
                "rule_version": transition.rule_version,
                "subject_kind": transition.subject.kind,
                "subject_id": transition.subject.id,
                "subject_name": transition.subject.name,
                "key": transition.key,
                "severity": transition.severity,
                "started_at": iso(transition.started_at),
                "zone_id": transition.zone_id,
                "lon": transition.lon,
                "lat": transition.lat,
            },
        )
    work.fires = json_text(list(fires.values())) if fires else None
    work.resolves = json_text(list(resolves.values())) if resolves else None


def _prepare_state(work: Work, instance: str) -> None:
    """What is to be found after a restart, and the outbox."""
    batch = work.batch
    if batch.notifications:
        work.after.append((statements.QUEUE_NOTIFICATIONS, (notification_rows(batch.notifications),)))
    states = {(s.rule_id, str(s.subject_kind), s.subject_id, s.key): s.state for s in batch.verdict.states}
    keys = ("rule_id", "subject_kind", "subject_id", "key")
    kept = [dict(zip(keys, key, strict=True), state=state) for key, state in states.items() if state is not None]
    gone = [dict(zip(keys, key, strict=True)) for key, state in states.items() if state is None]
    if kept:
        work.after.append((statements.UPSERT_RULE_STATE, (json_text(kept),)))
    if gone:
        work.after.append((statements.DELETE_RULE_STATE, (json_text(gone),)))
    if batch.fragments is not None:
        work.after.append((statements.DELETE_FRAGMENTS, (instance,)))
        fragments = [
            {
                "instance": instance,
                "seq": seq,
                "source_id": block.source,
                "origin": block.origin,
                "received_at": iso(block.received_at),
                "per_line": block.per_line,
                "line": block.line,
                "data": block.data.hex(),
            }
            for seq, block in enumerate(batch.fragments)
        ]
        if fragments:
            work.after.append((statements.INSERT_FRAGMENTS, (json_text(fragments),)))
    work.received = _received_until(batch)


def _received_until(batch: Batch) -> int | None:
    seen = batch.observations
    tables_ = (seen.positions, seen.readings, seen.statics, seen.receptions)
    latest = [int(t["received_at"].max()) for t in tables_ if len(t)]
    latest += [record.received_at for record in seen.records] + [reject.received_at for reject in seen.rejects]
    latest += [block.received_at for block in batch.fragments or ()]
    return max(latest, default=None)
