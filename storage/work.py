"""A batch made ready for its transaction: rows encoded, state as JSON, parameters in place. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from decoders.identity import MmsiClass, mmsi_classes
from storage import statements, tables
from storage.arrays import fixed_array
from storage.decisions import Decisions, decisions
from storage.errors import RowRefused
from storage.once import fits
from storage.part import Part
from storage.payload import json_text, queueing, remembering
from storage.quarantine import Refusal, clean, refusal
from storage.rows import fresh, leaders, newest, spans
from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from decoders.records import AisRecord, Name
    from storage.arrays import Array
    from storage.batch import Batch, Deciding
    from storage.known import Known
    from storage.straight import Straight
    from storage.tables import Table

#: AIS transponder ids are MMSIs; all others have bit 62 set (decoders.identity).
_MMSI_END: Final = 1_000_000_000
_CLASSES: Final = [form.value for form in MmsiClass]
#: Copying rows straight costs two exchanges more than merging them: for fewer than these it does not pay.
STRAIGHT_FROM: Final = 200
#: ``transponders.last_seen`` is the first time within the last hour: it need not be written for each row heard.
_HOUR: Final = 3_600_000_000
#: No event time: later than any.
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(slots=True)
class Work:
    """A batch made ready: nothing is computed while the transaction is open but what its answers decide."""

    batch: Batch
    epoch: int  # of what was known when it was made
    parts: dict[str, Part] = field(default_factory=dict)
    before: list[tuple[bytes, Sequence[Any]]] = field(default_factory=list)  # dimensions
    after: list[tuple[bytes, Sequence[Any]]] = field(default_factory=list)  # state
    decisions: Decisions = field(default_factory=Decisions)
    refusals: list[Refusal] = field(default_factory=list)  # one per reject
    #: What the database knows once this is committed: (kind, ids, least and greatest event times).
    learned: list[tuple[str, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    received: int | None = None  # the latest receive time in it
    once: bool = False  # to be tried by one statement (storage.once)


def prepare(batch: Batch, known: Known, straight: Mapping[str, Straight], instance: str) -> Work:
    """Encode everything. May run in a thread of its own while another batch is being written.

    Raises:
        RowRefused: a value cannot be encoded (a lone surrogate, a time outside the years 1..9999, NaN in JSON).
    """
    work = Work(batch, known.epoch)
    try:
        _prepare_rows(work)
        for name, part in work.parts.items():
            part.straight = len(part.chosen) >= STRAIGHT_FROM and bool(straight[name])
            part.encode()
        _prepare_names(work, known)
        _prepare_transponders(work, known)
        _prepare_decisions(work)
        _prepare_state(work, instance)
    except (UnicodeEncodeError, OverflowError, orjson.JSONEncodeError) as error:
        raise RowRefused(str(error)) from error
    work.refusals = [refusal(reject) for reject in batch.observations.rejects]
    work.once = fits(work) and all(straight[name] for name in work.parts)
    return work


def _prepare_rows(work: Work) -> None:
    """Rows in the order of their keys: neighbours in the index, and in every transaction the same."""
    observations = work.batch.observations
    positions, readings, statics = observations.positions, observations.readings, observations.statics
    if len(positions):
        lead, chosen = leaders(positions["transponder"], positions["time"], positions["digest"])
        _add(work, tables.POSITIONS, positions, lead, chosen, _latest("transponder"))
    if len(readings):
        lead, chosen = leaders(readings["device"], readings["metric"], readings["time"])
        _add(work, tables.READINGS, readings, lead, chosen, _latest("device", "metric"))
    if len(statics):
        lead, chosen = leaders(statics["transponder"], statics["time"], statics["digest"])
        chosen = np.sort(chosen)  # of one transponder in the order of arrival: that decides between equal times
        chosen = chosen[np.argsort(statics["transponder"][chosen], kind="stable")]
        _add(work, tables.STATICS, statics, lead, chosen, _fresh)
    if len(heard := observations.receptions):
        lead, chosen = leaders(heard["transponder"], heard["time"], heard["digest"], heard["source"])
        _add(work, tables.RECEPTIONS, heard, lead, chosen)
    if observations.records:
        columns = _record_columns(observations.records)
        lead, chosen = leaders(columns["transponder"], columns["time"], columns["digest"])
        _add(work, tables.AIS_MESSAGES, columns, lead, chosen)


def _add(
    work: Work,
    table: Table,
    data: Any,
    lead: NDArray[np.intp],
    chosen: NDArray[np.intp],
    flag: Callable[[Mapping[str, NDArray[Any]], NDArray[np.intp]], NDArray[np.bool_]] | None = None,
) -> None:
    columns = {column.field: data[column.field][chosen] for column in table.columns}
    if flag is not None and table.flag is not None:
        columns[table.flag.field] = flag(columns, chosen)
    work.parts[table.name] = Part(table, lead, chosen, columns)


def _latest(*subject: str) -> Callable[[Mapping[str, NDArray[Any]], NDArray[np.intp]], NDArray[np.bool_]]:
    return lambda rows, arrival: newest(rows["time"], arrival, *(rows[name] for name in subject))


def _fresh(rows: Mapping[str, NDArray[Any]], arrival: NDArray[np.intp]) -> NDArray[np.bool_]:
    del arrival  # the rows of one transponder are in it already
    return fresh(rows["time"], rows["transponder"])


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
    named: dict[str, dict[int, Name]] = {"source": {}, "metric": {}, "device": {}}
    for name in work.batch.observations.names:
        if name.kind in named:
            named[name.kind][name.id] = name
    if sources := _unknown(work, known, named["source"]):
        rows = [{"id": name.id, "name": name.name, "kind": name.detail} for name, _ in sources]
        work.before.append((statements.UPSERT_SOURCES, (json_text(rows),)))
    if metrics := _unknown(work, known, named["metric"]):
        rows = [{"id": name.id, "name": name.name} for name, _ in metrics]
        work.before.append((statements.UPSERT_METRICS, (json_text(rows),)))
    readings = work.batch.observations.readings
    ids, first, _ = spans(readings["device"], readings["time"])
    if devices := _unknown(work, known, named["device"], ids, first):
        work.before.append((statements.UPSERT_DEVICES, (json_text([_device(*device) for device in devices]),)))


def _device(name: Name, since: int) -> dict[str, Any]:
    gateway, _, device = name.name.partition("/")
    first_seen = None if since == _NEVER else iso(since)
    return {"id": name.id, "gateway": gateway, "name": device, "first_seen": first_seen}


def _unknown(
    work: Work,
    known: Known,
    names: Mapping[int, Name],
    ids: NDArray[np.int64] | None = None,
    first: NDArray[np.int64] | None = None,
) -> list[tuple[Name, int]]:
    """Those names, all of one kind, that the database may lack; and since when each was heard, given ``first`` of
    ``ids``, which ascend.
    """
    if not names:
        return []
    told = np.fromiter(names, dtype=np.int64, count=len(names))
    since = np.full(len(told), _NEVER)
    if ids is not None and first is not None and len(ids):
        place = np.minimum(np.searchsorted(ids, told), len(ids) - 1)
        heard = ids[place] == told
        since[heard] = first[place[heard]]
    last = np.zeros(len(told), dtype=np.int64)
    lacking = known.lacking(kind := next(iter(names.values())).kind, told, since, last)
    if not lacking.any():
        return []
    told, since = told[lacking], since[lacking]
    work.learned.append((kind, told, since, last[lacking]))
    return [(names[id_], when) for id_, when in zip(told.tolist(), since.tolist(), strict=True)]


def _prepare_transponders(work: Work, known: Known) -> None:
    """Transponders heard, where new, or heard earlier than was known, or in a later hour."""
    observations = work.batch.observations
    heard = [t for t in (observations.positions, observations.statics, observations.receptions) if len(t)]
    ids = [t["transponder"] for t in heard]
    times = [t["time"] for t in heard]
    if observations.records:
        ids.append(np.array([record.transponder for record in observations.records], dtype=np.int64))
        times.append(np.array([record.time for record in observations.records], dtype=np.int64))
    if not ids:
        return
    distinct, first, last = spans(np.concatenate(ids), np.concatenate(times), _HOUR)
    rank = last - last % _HOUR + (_HOUR - last % _HOUR)  # the later hour is greater; within one, the earlier time is
    lacking = known.lacking("transponder", distinct, first, rank)
    if not lacking.any():
        return
    distinct, first, last = distinct[lacking], first[lacking], last[lacking]
    work.learned.append(("transponder", distinct, first, rank[lacking]))
    is_mmsi = (distinct >= 0) & (distinct < _MMSI_END)
    if is_mmsi.any():
        ids_, seen = distinct[is_mmsi], (first[is_mmsi], last[is_mmsi])
        arrays = fixed_array("bigint", ids_), fixed_array("smallint", mmsi_classes(ids_) + 1), *_times(*seen)
        work.before.append((statements.UPSERT_AIS_TRANSPONDERS, (_CLASSES, *arrays)))
    if not is_mmsi.all():
        others, seen = distinct[~is_mmsi], (first[~is_mmsi], last[~is_mmsi])
        names = {name.id: (name.detail, name.name) for name in observations.names if name.kind == "transponder"}
        told = [names.get(id_, ("unknown", str(id_))) for id_ in others.tolist()]
        kinds, identifiers = ([one[place] for one in told] for place in range(2))
        parameters = fixed_array("bigint", others), kinds, identifiers, *_times(*seen)
        work.before.append((statements.UPSERT_OTHER_TRANSPONDERS, parameters))


def _times(*columns: NDArray[np.int64]) -> list[Array]:
    return [fixed_array("timestamptz", column) for column in columns]


def _prepare_decisions(work: Work) -> None:
    """Alerts and the notifications about them."""
    work.decisions = decisions(work.batch.verdict.transitions)


def _prepare_state(work: Work, instance: str) -> None:
    """What is to be found after a restart, and the outbox."""
    batch = work.batch
    if batch.deciding:
        work.after.append((statements.INSERT_ALERT_MESSAGES, (json_text(list(map(_deciding, batch.deciding))),)))
    if batch.notifications:
        work.after += queueing(batch.notifications)
    work.after += remembering(batch.verdict.states)
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


def _deciding(message: Deciding) -> dict[str, Any]:
    return {
        "alert_id": str(message.alert),
        "received_at": iso(message.received_at),
        "message": message.message,
        "source_id": message.source,
        "origin": clean(message.origin),
        "format": message.format,
        "per_line": message.per_line,
        "raw": message.raw.hex(),
        "size": message.size,
    }


def _received_until(batch: Batch) -> int | None:
    seen = batch.observations
    tables_ = (seen.positions, seen.readings, seen.statics, seen.receptions)
    latest = [int(t["received_at"].max()) for t in tables_ if len(t)]
    latest += [record.received_at for record in seen.records] + [reject.received_at for reject in seen.rejects]
    latest += [block.received_at for block in batch.fragments or ()]
    latest += [batch.until] if batch.until is not None else []
    return max(latest, default=None)
