"""An alert with all it takes to come to it again, in one file that needs no database. Pure.

The file is a zip. ``manifest.json`` names every other member with its SHA-256; the archive's comment, its last 64
bytes, is the SHA-256 of all bytes before. So no byte of it is changed unnoticed. Who changes one on purpose can compute
the sums anew, but has to come to the alert all the same: ``check`` puts the rule to the rows, by the engine. That what
was handed over is what was made is certain only where that last sum was noted elsewhere when it was made.

Rows are as the tables have them, one JSON object a line, times as ISO 8601 with microseconds, null where there is no
value. Of the messages that decided a change of the alert the bytes that came over the wire are there, too
(``alerting.rejudging.wire``). ``digest`` is that of what was transmitted (``decoders.identity.digest``): who recorded
it can be found to have the same.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from pydantic import ValidationError

from alerting.model import Memory, Subject, SubjectKind, alert_id, shadow_id
from alerting.registry.register import UNREGISTERED, Registry
from alerting.rejudging.instants import EvidenceError, instant, iso
from alerting.rejudging.retelling import Known, differences, fired_with, retell
from alerting.rejudging.wire import check_messages
from alerting.rules import RULE
from decoders.arrival import numbered
from decoders.records import NULL_I1, NULL_I2, NULL_I4, POSITION, READING, RECEPTION, STATIC, AisRecord, Observations
from geofence.geometries import ZoneError
from geofence.zones import read_zones

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.model import Transition
    from alerting.rules import Rule
    from geofence.zones import Zone

    Table = NDArray[np.void]

FORMAT: Final = "haidang.evidence/1"
_DTYPES: Final = {"positions": POSITION, "readings": READING, "statics": STATIC, "receptions": RECEPTION}
_FACTS: Final = ("alert", "history", "notifications", "deliveries", "messages")
_TIMES: Final = frozenset({"time", "received_at"})
_NULLS: Final = {"i1": NULL_I1, "i2": NULL_I2, "i4": NULL_I4}
#: What reading a damaged archive or manifest can end in.
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, MemoryError),
    *(KeyError, IndexError, ValueError, TypeError, OverflowError, NotImplementedError, RuntimeError),
)
_MOST: Final = 1 << 30  # bytes unpacked
_SEAL: Final = 64  # hexadecimal digits
_EARLY: Final = (1980, 1, 1, 0, 0, 0)  # the time of every member: equal evidence makes equal files


@dataclass(slots=True)
class Evidence:
    """What there is to an alert. ``facts`` are JSON-ready: alert, history, notifications, software, what was asked."""

    facts: dict[str, Any]
    rule: dict[str, Any]  # its id, version and body
    zones: dict[str, Any]  # GeoJSON FeatureCollection
    before: Memory  # what was known before the rows
    rows: Observations  # numbered
    until: int  # up to when, by receive time, they were judged
    deaf: Sequence[tuple[int, int]] = ()
    conditions: Sequence[dict[str, Any]] = ()  # the rules that the rule stands on, likewise
    registry: Registry = UNREGISTERED  # of those in the rows
    page: str = ""  # for people
    members: Mapping[str, bytes] = field(default_factory=dict)


# --- one file


def pack(evidence: Evidence) -> bytes:
    """The file."""
    members = {
        "alert.json": _json(evidence.facts["alert"]),
        "history.json": _json(evidence.facts["history"]),
        "notifications.json": _json(evidence.facts["notifications"]),
        "deliveries.json": _json(evidence.facts["deliveries"]),
        "messages.json": _json(evidence.facts["messages"]),
        "rule.json": _json(evidence.rule),
        "conditions.json": _json(list(evidence.conditions)),
        "zones.geojson": _json(evidence.zones),
        "registry.json": _json(evidence.registry.told()),
        "before.json": _json(_memory(evidence.before)),
        "page.html": evidence.page.encode(),
        **{f"rows/{name}.jsonl": _lines(getattr(evidence.rows, name)) for name in _DTYPES},
        "rows/ais_messages.jsonl": b"".join(map(_record, evidence.rows.records)),
    }
    manifest = {
        "format": FORMAT,
        "software": evidence.facts["software"],
        "made_at": evidence.facts["made_at"],
        "alert": evidence.facts["alert"]["id"],
        "until": iso(evidence.until),
        "zones_until": evidence.facts.get("zones_until"),
        "deaf": [[iso(since), iso(until)] for since, until in evidence.deaf],
        "members": {
            name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in sorted(members.items())
        },
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"manifest.json": _json(manifest), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, _EARLY), data, zipfile.ZIP_DEFLATED)
        archive.comment = b"0" * _SEAL
    body = file.getvalue()[:-_SEAL]
    return body + sha256(body).hexdigest().encode()


def unpack(data: bytes) -> Evidence:
    """What is in a file, every sum checked.

    Raises:
        EvidenceError: it is no such file, or any byte of it was changed.
    """
    sealed = len(data) > _SEAL and data[-_SEAL:] == sha256(data[:-_SEAL]).hexdigest().encode()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
            members = {name: archive.read(name) for name in archive.namelist()} if size <= _MOST else {}
        manifest = orjson.loads(members.pop("manifest.json"))
        sums = {name: said["sha256"] for name, said in manifest["members"].items()}
    except _DAMAGE as exc:
        raise EvidenceError(f"the file cannot be read: {' '.join(str(exc).split())}") from exc
    for name in sorted(sums.keys() | members.keys()):
        if name not in members:
            raise EvidenceError(f"{name} is missing")
        if name not in sums or sha256(members[name]).hexdigest() != sums[name]:
            raise EvidenceError(f"{name} was changed: its sha256 is not that of the manifest")
    if not sealed:
        raise EvidenceError("the file was changed: its sha256 is not the one it ends with")
    if manifest.get("format") != FORMAT:
        raise EvidenceError(f"the file is {manifest.get('format')!r}, and not {FORMAT!r}")
    try:
        return _read(manifest, members)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise EvidenceError(f"the file does not hold what it should: {' '.join(str(exc).split())}") from exc


def _read(manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> Evidence:
    rows = Observations()
    for name, dtype in _DTYPES.items():
        setattr(rows, name, _table(members[f"rows/{name}.jsonl"], dtype))
    rows.records = [_ais_record(line) for line in members["rows/ais_messages.jsonl"].splitlines()]
    numbered(rows)
    facts = {name: orjson.loads(members.get(f"{name}.json", b"[]")) for name in _FACTS}  # versions kept no messages
    facts |= {"software": manifest["software"], "made_at": manifest["made_at"], "id": manifest["alert"]}
    return Evidence(
        facts=facts | {"zones_until": manifest.get("zones_until")},  # not in files of versions that kept none
        rule=orjson.loads(members["rule.json"]),
        zones=orjson.loads(members["zones.geojson"]),
        before=_remembered(orjson.loads(members["before.json"])),
        rows=rows,
        until=instant(manifest["until"]),
        deaf=[(instant(since), instant(until)) for since, until in manifest["deaf"]],
        conditions=orjson.loads(members.get("conditions.json", b"[]")),  # not in files of versions that knew none
        # Not in files of versions that knew no registry.
        registry=Registry.read(orjson.loads(members.get("registry.json", b'{"vessels":[],"devices":{}}'))),
        page=members["page.html"].decode(),
        members=members,
    )


# --- coming to it again


def check(evidence: Evidence) -> list[Transition]:
    """Come to the alert again: what the rows tell of it.

    Raises:
        EvidenceError: something does not fit.
    """
    alert = evidence.facts["alert"]
    (*conditions, rule), zones = _rules_of(evidence), _zones_of(evidence)
    if (rule.id, rule.version) != (alert["rule_id"], alert["rule_version"]):
        raise EvidenceError(
            f"the rule is {rule.id} {rule.version}, and the alert is of {alert['rule_id']} {alert['rule_version']}"
        )
    stood_on = fired_with(evidence.facts["history"]).get("rules", {})
    if {one.id: one.version for one in conditions} != stood_on:
        raise EvidenceError("the rules that the rule stands on are not those of the alert, or not in their versions")
    versions = {zone.id: zone.version for zone in zones}
    then = fired_with(evidence.facts["history"]).get("zone_version")
    if then is not None and versions.get(alert["zone_id"]) != then:
        raise EvidenceError(f"zone {alert['zone_id']} is version {versions.get(alert['zone_id'])}, and was {then}")
    subject = Subject(SubjectKind(alert["subject_kind"]), int(alert["subject_id"]), alert["subject_name"])
    made = alert_id(rule.id, subject, alert["key"], instant(alert["started_at"]))
    if str(shadow_id(made) if alert["shadow"] else made) != alert["id"] or alert["id"] != evidence.facts["id"]:
        raise EvidenceError("the alert's id is not that of its rule, subject, key and start")
    if _registered(evidence.registry, subject, instant(alert["started_at"])) != tuple(
        fired_with(evidence.facts["history"]).get(name) for name in ("vessel", "site")
    ):
        raise EvidenceError("registry.json says of the alert's subject something else than the alert")
    known = Known([*conditions, rule], zones, evidence.registry, evidence.before, evidence.deaf)
    try:
        told = retell(known, alert, evidence.facts["history"], evidence.rows, evidence.until)
    except ValueError as exc:  # a zone that a rule speaks of is not among them
        raise EvidenceError(str(exc)) from exc
    if not told:
        raise EvidenceError("the rule does not come to this alert by these rows")
    for what, was, now in differences(evidence.facts, told):
        raise EvidenceError(f"by these rows the alert has another {what}: {now}, and was told with {was}")
    check_messages(evidence.facts["messages"], evidence.rows, evidence.until)
    return told


def _registered(registry: Registry, subject: Subject, time: int) -> tuple[Any, Any]:
    """What alerts say of the vessel that carries a transponder, and of where a device stands."""
    carried = registry.carrier(subject.id, time) if subject.kind is SubjectKind.TRANSPONDER else None
    site = registry.site(subject.name) if subject.kind is SubjectKind.DEVICE else None
    return carried and carried.told(), site and site.told()


def _rules_of(evidence: Evidence) -> list[Rule]:
    """The rule, after those that it stands on."""
    try:
        return [RULE.validate_json(orjson.dumps(rule["body"])) for rule in (*evidence.conditions, evidence.rule)]
    except ValidationError as exc:
        raise EvidenceError(f"the rule is not one that this version understands: {exc.errors()[0]['msg']}") from exc


def _zones_of(evidence: Evidence) -> list[Zone]:
    if not evidence.zones["features"]:
        return []
    try:
        return read_zones(orjson.dumps(evidence.zones), file="zones.geojson")
    except ZoneError as exc:
        raise EvidenceError(str(exc)) from exc


# --- rows and what was known, as JSON


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rows(table: Table) -> list[dict[str, Any]]:
    names = [name for name in table.dtype.names or () if name != "message"]
    columns = {name: _values(name, table[name]) for name in names}
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(name: str, column: NDArray[Any]) -> list[Any]:
    if name in _TIMES:
        return [iso(time) for time in column.tolist()]
    null = _NULLS.get(column.dtype.str[1:])
    return [None if value == null or value != value else value for value in column.tolist()]  # noqa: PLR0124  # NaN


def _from(rows: Sequence[Mapping[str, Any]], dtype: np.dtype[Any]) -> Table:
    table = np.zeros(len(rows), dtype)
    for name in dtype.names or ():
        if name == "message":
            continue
        values = [instant(row[name]) if name in _TIMES else row[name] for row in rows]
        kind = dtype[name]
        if kind.kind != "O":
            null = float("nan") if kind.kind == "f" else _NULLS.get(kind.str[1:])
            values = [null if value is None else value for value in values]
        table[name] = values
    return table


def _lines(table: Table) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _rows(table))


def _table(data: bytes, dtype: np.dtype[Any]) -> Table:
    return _from([orjson.loads(line) for line in data.splitlines()], dtype)


def _record(record: AisRecord) -> bytes:
    said = {name: getattr(record, name) for name in ("transponder", "digest", "source", "msg_type", "kind", "fields")}
    times = {"time": iso(record.time), "received_at": iso(record.received_at)}
    return orjson.dumps({**times, **said}, option=orjson.OPT_APPEND_NEWLINE)


def _ais_record(line: bytes) -> AisRecord:
    said = orjson.loads(line)
    times = (instant(said.pop("time")), instant(said.pop("received_at")))
    return AisRecord(*times, said=said.pop("fields"), message=0, **said)


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        "positions": None if memory.positions is None else _rows(memory.positions),
        "readings": None if memory.readings is None else _rows(memory.readings),
        "ship_types": sorted(memory.ship_types.items()),
        "static_times": [[id_, iso(time)] for id_, time in sorted(memory.static_times.items())],
        "first_seen": [[id_, iso(time)] for id_, time in sorted(memory.first_seen.items())],
        "names": [[kind, id_, name] for (kind, id_), name in sorted(memory.names.items())],
    }


def _remembered(said: Mapping[str, Any]) -> Memory:
    return Memory(
        positions=None if said["positions"] is None else _from(said["positions"], POSITION),
        readings=None if said["readings"] is None else _from(said["readings"], READING),
        ship_types=dict(said["ship_types"]),
        static_times={id_: instant(time) for id_, time in said["static_times"]},
        first_seen={id_: instant(time) for id_, time in said["first_seen"]},
        names={(kind, id_): name for kind, id_, name in said["names"]},
    )
