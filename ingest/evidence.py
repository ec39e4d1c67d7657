"""Putting an alert's evidence together: what is recorded of it, and the rows by which its rule comes to it again."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from pydantic import ValidationError

from alerting.model import Subject, SubjectKind
from alerting.rejudging import evidence
from alerting.rejudging.backtest import warm_up
from alerting.rejudging.evidence import Evidence
from alerting.rejudging.evidence_page import page
from alerting.rejudging.instants import EvidenceError, instant
from alerting.rejudging.retelling import Known, Retelling, differences, fired_with
from alerting.rules import RULE
from decoders.arrival import before, numbered
from geofence.zones import to_feature_collection
from ingest.backtest import count, listened_until, looked_at
from ingest.zones import texts
from storage.chain import link
from storage.errors import RequestRefused
from storage.evidence import record
from storage.history import TABLES, Choice, history
from storage.registry import registry
from storage.times import microseconds
from storage.zones import zones_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from alerting.model import Memory, Transition
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from decoders.records import Observations
    from geofence.zones import Zone
    from storage.zones import Past

#: Rows looked through for what an alert stands on; more, and it cannot be shown by a file.
_MOST = 2_000_000
#: How many times the warm-up is read, one after the other, until the alert is come to: an episode may be old.
_LOOKS_BACK = (1, 8, 64)


#: Chains of rows and the fields that their hashes are of (migration ``audit``).
_CHAINED: Final = {
    "history": (
        *("alert_id", "seq", "at", "actor", "from_state", "to_state", "change", "note"),
        "details_text",
    ),
    "deliveries": ("alert_id", "seq", "at", "notification_id", "channel", "event", "outcome", "attempts", "note"),
}


async def make(dsn: str, id_: UUID) -> bytes:
    """The evidence file of an alert, verified.

    Raises:
        RequestRefused: there is no such alert, or what there is of it does not come to it.
        StorageError: the database cannot be used.
    """
    data = evidence.pack(await gather(dsn, id_))
    try:
        verify(data)
    except EvidenceError as exc:
        raise RequestRefused(f"alert {id_}: what is stored of it does not verify: {exc}") from exc
    return data


async def gather(dsn: str, id_: UUID) -> Evidence:
    """The evidence of an alert, as little of it as comes to the alert: the subject's rows if they do, else everybody's.

    Raises:
        RequestRefused: there is no such alert, or what it stands on is not there any more.
        StorageError: the database cannot be used.
    """
    recorded = await record(dsn, id_)
    facts = {**_plain(recorded), "made_at": datetime.now(UTC).isoformat(), "software": version("haidang")}
    alert = facts["alert"]
    rules = [_rule(kept) for kept in (*facts["conditions"], facts["rule"])]
    past = await _zones(dsn, rules, recorded)
    facts["zones_until"] = past.until and past.until.isoformat()
    end = await listened_until(dsn)
    if end is None:
        raise RequestRefused("the database holds no rows")
    subject = Subject(SubjectKind(alert["subject_kind"]), int(alert["subject_id"]), alert["subject_name"])
    started_at = microseconds(recorded["alert"]["started_at"])
    known = (await registry(dsn)).as_told(subject, started_at, fired_with(facts["history"]))
    began = microseconds(min(t for t in (recorded["alert"]["started_at"], recorded["alert"]["known_at"]) if t))
    found: Evidence | str = ""
    for choice, since in _choices(rules, facts, began):
        found = await _try(dsn, facts, rules, past.zones, known, choice, since, end + 1)
        if isinstance(found, Evidence):
            break
    if isinstance(found, str):
        raise RequestRefused(f"alert {id_} does not come out of what is stored: {found}")
    rows = {name: count(found.rows, name) for name in sorted(TABLES)}
    found.page = page(facts, rows)
    return found


def verify(data: bytes) -> Evidence:
    """What is in an evidence file, if it is whole, comes to its alert, and its record is a chain.

    Raises:
        EvidenceError: something does not fit.
    """
    found = evidence.unpack(data)
    evidence.check(found)
    for name, fields in _CHAINED.items():
        previous: bytes | None = None
        for number, row in enumerate(found.facts[name]):
            said = [_field(row, field) for field in fields]
            if row.get("payload_sha256") is not None:
                said.append(row["payload_sha256"])
            previous = link(previous, *said)
            if previous.hex() != row["hash"]:
                raise EvidenceError(f"{name}: row {number + 1} was changed: it does not follow from the rows before it")
    for row in found.facts["history"]:
        if orjson.loads(row["details_text"]) != row["details"]:
            raise EvidenceError(f"history: row {row['seq']} has other details than its hash is of")
    _check_payloads(found.facts)
    return found


def _check_payloads(facts: dict[str, Any]) -> None:
    """What was told is what the deliveries say was told."""
    given = {row["id"]: row for row in facts["notifications"]}
    for row in facts["deliveries"]:
        if row.get("payload_sha256") is None:
            continue
        told = given.get(row["notification_id"], {"payload_text": "null", "payload": None})
        text, digest = told["payload_text"], row["payload_sha256"]
        if sha256(text.encode()).hexdigest() != digest or orjson.loads(text) != told["payload"]:
            raise EvidenceError(f"notification {row['notification_id']} says something else than what was told")


def _field(row: dict[str, Any], field: str) -> str | None:
    value = row[field]
    if field == "at":
        return str(instant(value))
    return None if value is None else str(value)


def _plain(recorded: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: times as text, bytes as hexadecimal digits."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(recorded, default=_text))
    return plain


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)


def _rule(kept: dict[str, Any]) -> Rule:
    try:
        return RULE.validate_json(orjson.dumps(kept["body"]))
    except ValidationError as exc:
        raise RequestRefused(f"rule {kept['id']} is not one that this version understands") from exc


async def _zones(dsn: str, rules: Sequence[Rule], recorded: dict[str, Any]) -> Past:
    """Those that the rules speak of, wherever they do, as they were when the alert fired."""
    alert, fired = recorded["alert"], recorded["history"][0]
    version = fired["details"].get("zone_version")
    then = {} if version is None else {alert["zone_id"]: version}
    past = await zones_at(dsn, texts(rules), fired["recorded_at"], then)
    for zone, wanted in then.items():
        if wanted not in {found.version for found in past.zones if found.id == zone}:
            raise RequestRefused(f"zone {zone} is not kept in its version {wanted}")
    return past


def _choices(rules: Sequence[Rule], facts: dict[str, Any], began: int) -> Iterator[tuple[Choice, int]]:
    """Which rows to try, the fewest first, and since when: of the subject, and of the members that it was told with."""
    alert, tables = facts["alert"], looked_at(rules)
    who = {(alert["subject_kind"], int(alert["subject_id"]))}
    told = fired_with(facts["history"])
    who |= {(one["kind"], int(one["id"])) for one in told.get("members", ())}
    who |= {("transponder", int(id_)) for id_ in told.get("partners", ())}
    ids = {kind: tuple(sorted(id_ for of, id_ in who if of == kind)) for kind in ("transponder", "device")}
    of_many = alert["subject_kind"] in {"source", "gateway"}  # whoever came by it
    alone = [] if of_many else [Choice(tables, ids["transponder"], ids["device"])]
    for choice in (*alone, Choice(tables)):
        for times in _LOOKS_BACK:
            yield choice, began - times * warm_up(rules)


async def _try(
    dsn: str,
    facts: dict[str, Any],
    rules: Sequence[Rule],
    zones: Sequence[Zone],
    known: Registry,
    choice: Choice,
    since: int,
    end: int,
) -> Evidence | str:
    """The evidence, if the alert comes out of these rows as it was told, as few of the last of them as do; else why it
    does not.
    """
    async with history(dsn, choice) as past:
        deaf = [(first, last) for first, last in await past.deaf() if since < last]
        memory = await past.memory(since)
        try:
            telling = Retelling(Known(rules, zones, known, memory, deaf), facts["alert"], facts["history"])
        except ValueError as exc:  # a zone that was gone before versions were kept
            return str(exc)
        rows, wrong = 0, _wrong(facts, [])
        async for observations, tick in past.slices(since, end, [*dict(deaf), *telling.cuts]):
            rows += sum(count(observations, name) for name in TABLES)
            telling.take(observations, tick)
            wrong = _wrong(facts, telling.told)
            if rows > _MOST or not wrong:
                break
    if wrong:
        return f"of more than {_MOST} rows" if rows > _MOST else wrong
    until = max(told.known for told in telling.told) + 1
    kept, _ = before(telling.rows(), until)
    numbered(kept)
    ids = _ids(memory, kept)
    return Evidence(
        facts=facts,
        rule=facts["rule"],
        conditions=facts["conditions"],
        zones=to_feature_collection(zones),
        before=_known(memory, ids),
        rows=kept,
        until=until,
        deaf=[(first, last) for first, last in deaf if first < until],
        registry=known.of(
            (id_ for kind, id_ in ids if kind == "transponder"),
            (memory.names.get(key, "") for key in ids if key[0] == "device"),
        ),
    )


def _wrong(facts: dict[str, Any], told: Sequence[Transition]) -> str:
    """In what the alert is not as it was told; nothing: it is."""
    if not told:
        return "rows are gone, or it began too long ago"
    for what, was, now in differences(facts, told):
        return f"by its rows it has another {what}: {now}, and was told with {was}"
    return ""


def _ids(memory: Memory, rows: Observations) -> set[tuple[str, int]]:
    """Who is in what was known before or in the rows, by kind and id."""
    devices, transponders = (rows.readings, memory.readings), (rows.positions, rows.statics, memory.positions)
    found = {
        (kind, id_)
        for kind, tables in (("device", devices), ("transponder", transponders))
        for table in tables
        if table is not None
        for id_ in np.unique(table[kind]).tolist()
    }
    heard_by = (rows.positions, rows.statics, rows.receptions, rows.readings, memory.positions, memory.readings)
    found |= {("source", id_) for table in heard_by if table is not None for id_ in np.unique(table["source"]).tolist()}
    return found | {("transponder", record.transponder) for record in rows.records}


def _known(memory: Memory, ids: set[tuple[str, int]]) -> Memory:
    """What was known before, of the names only those of who is in it, or has heard it."""
    memory.names = {key: name for key, name in memory.names.items() if key in ids}
    return memory
