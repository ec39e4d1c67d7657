"""Files of the registry: vessels and devices as CSV or JSON lines. Pure.

UTF-8, with or without a byte order mark. CSV has a header row; its columns are divided by commas, or by semicolons if
the header is. JSON lines have one object a line, under the same names. What is empty is not said.

Whatever is wrong is told as one line with file, line and reason, all of it at once.
"""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from unicodedata import normalize

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alerting.registry.register import BEGINNING, END, DeviceEntry, Fitted, Site, Vessel, VesselEntry
from alerting.rules.base import east
from decoders.times import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from alerting.registry.register import Span

_BLANKS: Final = re.compile(r"\s+")
_DAY: Final = 86_400_000_000
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

VESSEL_COLUMNS: Final = (
    *("id", "registration_no", "name", "flag", "class", "length_m", "gear", "home_port", "owner", "licence_no"),
    *("licence_from", "licence_until", "licence_zone", "lists", "mmsi", "vms", "carried_from", "carried_until"),
)
DEVICE_COLUMNS: Final = ("gateway", "device", "lon", "lat", "groups")


class RegistryError(ValueError):
    """A file that cannot be taken in. ``str()`` is one line a problem; ``problems`` has them apart."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


# --- what a field may be


def _exact(value: object) -> object:
    """Text as on the wire, blanks around it apart; nothing if it is empty."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return value
    if _CONTROL.search(value := value.strip()):
        raise ValueError("control characters are not text")
    return value or None


def _text(value: object) -> object:
    """Text as it is kept: composed (NFC), with single blanks; nothing if it is empty."""
    value = _exact(value)
    return _BLANKS.sub(" ", normalize("NFC", value)) if isinstance(value, str) else value


def _flag(value: object) -> object:
    value = _text(value)
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z]{2}", value):
        raise ValueError(f'expected a flag State such as "VN" (ISO 3166-1 alpha-2), found {value!r}')
    return value.upper() if isinstance(value, str) else value


def _number(value: object) -> object:
    value = _text(value)
    if isinstance(value, str):
        # Vietnamese spreadsheets write a decimal comma.
        if not re.fullmatch(r"[+-]?\d{1,9}(?:[.,]\d{1,12})?", value, re.ASCII):
            raise ValueError(f"expected a number, found {value!r}")
        return float(value.replace(",", "."))
    return value


def _mmsi(value: object) -> object:
    value = _text(value)
    if isinstance(value, str):
        if not re.fullmatch(r"\d{9}", value, re.ASCII) or int(value) == 0:
            raise ValueError(f"expected an MMSI of nine digits, found {value!r}")
        return int(value)
    return value


def _words(value: object) -> object:
    """A list, or text divided by semicolons."""
    parts = value.split(";") if isinstance(value, str) else value
    if parts is None:
        return frozenset()
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected words divided by semicolons, or a list of them")  # for pydantic
    return frozenset(word for part in parts if (word := _text(part)) is not None)


def _vms(value: object) -> object:
    value = _exact(value)
    if isinstance(value, str) and not re.fullmatch(r"[^/]+/[^/]+", value):
        raise ValueError(f'expected "gateway/device" as in the topic of its positions, found {value!r}')
    return value


def _level(value: object) -> object:
    value = _exact(value)
    if isinstance(value, str) and re.search(r"[/+#]", value):
        raise ValueError(f"expected one level of a topic, found {value!r}")
    return value


def _time(value: object) -> object:
    """A day, or an instant with an offset from UTC."""
    value = _text(value)
    if value is None:
        return None
    if isinstance(value, str):
        with suppress(ValueError):
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
                return date.fromisoformat(value)
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment
    raise ValueError(f"expected a day such as 2026-01-31, or a time such as 2026-01-31T06:00:00+07:00, found {value!r}")


_Name = Annotated[Annotated[str, Field(max_length=200)] | None, BeforeValidator(_text)]
_Time = Annotated[date | datetime | None, BeforeValidator(_time)]
_Words = Annotated[frozenset[Annotated[str, Field(max_length=80)]], BeforeValidator(_words)]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=False)


class _VesselRow(_Row):
    id: Annotated[Annotated[str, Field(max_length=80)], BeforeValidator(_text)]
    registration_no: _Name = None
    name: _Name = None
    flag: Annotated[str | None, BeforeValidator(_flag)] = None
    kind: Annotated[_Name, Field(alias="class")] = None
    length_m: Annotated[Annotated[float, Field(gt=0, le=1000)] | None, BeforeValidator(_number)] = None
    gear: _Name = None
    home_port: _Name = None
    owner: _Name = None
    licence_no: _Name = None
    licence_from: _Time = None
    licence_until: _Time = None
    licence_zone: _Name = None
    lists: _Words = frozenset()
    mmsi: Annotated[int | None, BeforeValidator(_mmsi)] = None
    vms: Annotated[Annotated[str, Field(max_length=512)] | None, BeforeValidator(_vms)] = None
    carried_from: _Time = None
    carried_until: _Time = None

    @model_validator(mode="after")
    def _carried_what(self) -> _VesselRow:
        if self.mmsi is None and self.vms is None and (self.carried_from or self.carried_until):
            raise ValueError("carried_from and carried_until are of an mmsi or a vms")
        return self


class _DeviceRow(_Row):
    gateway: Annotated[Annotated[str, Field(max_length=256)], BeforeValidator(_level)]
    device: Annotated[Annotated[str, Field(max_length=256)], BeforeValidator(_level)]
    lon: Annotated[Annotated[float, Field(ge=-180, le=180)] | None, BeforeValidator(_number)] = None
    lat: Annotated[Annotated[float, Field(ge=-90, le=90)] | None, BeforeValidator(_number)] = None
    groups: _Words = frozenset()

    @model_validator(mode="after")
    def _both_or_neither(self) -> _DeviceRow:
        if (self.lon is None) is not (self.lat is None):
            raise ValueError("lon and lat: both or neither")
        return self


# --- entries


#: What is said once of a vessel that has several rows, one for each transponder.
_ONCE: Final = (
    *("registration_no", "name", "flag", "kind", "length_m", "gear", "home_port", "owner", "licence_no"),
    *("licence_from", "licence_until", "licence_zone", "lists"),
)
_COLUMN: Final = {"kind": "class"}


def read_vessels(
    data: bytes, *, file: str = "", utc_offset: str = "+07:00"
) -> tuple[list[VesselEntry], dict[str, int]]:
    """The vessels of a file, and on which line each begins, by id.

    Args:
        data: its bytes.
        file: what it is called.
        utc_offset: what its days are meant at. A span ends with its last day.

    Raises:
        RegistryError: anything in it is wrong.
    """
    problems: list[str] = []
    zone = timezone(east(utc_offset))
    rows: dict[str, _VesselRow] = {}
    lines: dict[str, int] = {}
    fitted: dict[str, dict[Fitted, int]] = {}
    numbers: dict[str, str] = {}
    for line, said in _records(data, VESSEL_COLUMNS, ("id",), file, problems):
        row, faults = _validated(_VesselRow, said)
        if row is None:
            problems += [f"{file}:{line}: {fault}" for fault in faults]
            continue
        faults = [
            f"{kind}_until is not after {kind}_from"
            for kind in ("licence", "carried")
            if not _lasts(_span(getattr(row, f"{kind}_from"), getattr(row, f"{kind}_until"), zone))
        ]
        first = rows.setdefault(row.id, row)
        if first is not row:
            faults += [
                f"{_COLUMN.get(name, name)} is {_shown(row, name)}, and on line {lines[row.id]} {_shown(first, name)}"
                for name in _ONCE
                if getattr(row, name) not in (None, frozenset(), getattr(first, name))
            ]
            faults += [] if row.mmsi or row.vms else [f"id {row.id!r} is there on line {lines[row.id]} already"]
        lines.setdefault(row.id, line)
        if row.registration_no and numbers.setdefault(row.registration_no, row.id) != row.id:
            other = numbers[row.registration_no]
            faults.append(f"registration_no {row.registration_no!r} is that of {other!r} on line {lines[other]}")
        if not faults:
            of = fitted.setdefault(row.id, {})
            for one in _fitted(row, zone):
                if one in of:
                    faults.append(f"{one.identifier} is said to be carried at that time on line {of[one]} already")
                of[one] = line
        problems += [f"{file}:{line}: {fault}" for fault in faults]
    if problems:
        raise RegistryError(problems)
    return [_entry(row, tuple(fitted[id_]), zone) for id_, row in rows.items()], lines


def read_devices(data: bytes, *, file: str = "") -> list[DeviceEntry]:
    """The devices of a file.

    Raises:
        RegistryError: anything in it is wrong.
    """
    problems: list[str] = []
    lines: dict[tuple[str, str], int] = {}
    found: list[DeviceEntry] = []
    for line, said in _records(data, DEVICE_COLUMNS, ("gateway", "device"), file, problems):
        row, faults = _validated(_DeviceRow, said)
        if row is not None:
            first = lines.setdefault((row.gateway, row.device), line)
            if first != line:
                faults.append(f"{row.gateway}/{row.device} is there on line {first} already")
            found.append(DeviceEntry(row.gateway, row.device, Site(row.lon, row.lat, row.groups)))
        problems += [f"{file}:{line}: {fault}" for fault in faults]
    if problems:
        raise RegistryError(problems)
    return found


def _entry(row: _VesselRow, fitted: tuple[Fitted, ...], zone: tzinfo) -> VesselEntry:
    licensed = row.licence_no is not None or row.licence_from is not None or row.licence_until is not None
    vessel = Vessel(
        id=row.id,
        name=row.name,
        registration_no=row.registration_no,
        flag=row.flag,
        kind=row.kind,
        length_m=row.length_m,
        gear=row.gear,
        home_port=row.home_port,
        licence_no=row.licence_no,
        licensed=_span(row.licence_from, row.licence_until, zone) if licensed else None,
        licence_zone=row.licence_zone,
        lists=row.lists,
    )
    return VesselEntry(vessel, fitted, row.owner)


def _fitted(row: _VesselRow, zone: tzinfo) -> Iterator[Fitted]:
    span = _span(row.carried_from, row.carried_until, zone)
    if row.mmsi is not None:
        yield Fitted("ais", str(row.mmsi), *span)
    if row.vms is not None:
        yield Fitted("device", row.vms, *span)


def _span(since: date | None, until: date | None, zone: tzinfo) -> Span:
    """From the first up to, not including, the second; of a day all of it."""
    return (
        BEGINNING if since is None else _instant(since, zone),
        END if until is None else _instant(until, zone, after=not isinstance(until, datetime)),
    )


def _instant(moment: date, zone: tzinfo, *, after: bool = False) -> int:
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), zone)
    # Not by datetime, which ends with the year 9999, and in UTC begins a little late.
    offset = moment.utcoffset()
    assert offset is not None  # what has none is refused
    local = microseconds(moment.replace(tzinfo=UTC)) + (_DAY if after else 0)
    return local - offset // timedelta(microseconds=1)


def _lasts(span: Span) -> bool:
    return span[0] < span[1]


def _shown(row: _VesselRow, name: str) -> str:
    value = getattr(row, name)
    return "not said" if value in (None, frozenset()) else str(sorted(value) if name == "lists" else value)


# --- rows


_M = TypeVar("_M", bound=_Row)


def _validated(model: type[_M], said: Mapping[str, Any]) -> tuple[_M | None, list[str]]:
    try:
        return model.model_validate(said), []
    except ValidationError as error:
        return None, list(dict.fromkeys(_fault(e) for e in error.errors(include_url=False)))


def _fault(error: ErrorDetails) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if error["type"] == "missing" or (error["input"] is None and key):
        return f"{key!r} is missing"
    reason = " ".join(error["msg"].removeprefix("Value error, ").split())
    return f"{key}: {reason}" if key else reason


def _records(
    data: bytes, columns: Sequence[str], required: Sequence[str], file: str, problems: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What each row says, and on which line it begins."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(f"{file}:{line}: not UTF-8: byte {error.start}")
        return
    if text.lstrip().startswith("{"):
        yield from _json_lines(text, file, problems)
    else:
        yield from _csv(text, columns, required, file, problems)


def _json_lines(text: str, file: str, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.append(f"{file}:{number}: not JSON: {error.msg}")
            continue
        if isinstance(said, dict):
            yield number, said
        else:
            problems.append(f"{file}:{number}: expected a JSON object")


def _csv(
    text: str, columns: Sequence[str], required: Sequence[str], file: str, problems: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=";" if ";" in first and "," not in first else ",", strict=True
    )
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            problems.append(f"{file}:{line}: not CSV: {error}")
            return
        if fields is None:
            break
        if not any(field.strip() for field in fields):
            continue
        if header is None:
            header = [field.strip().lower() for field in fields]
            faults = [
                f"unknown column {name!r}: there are {', '.join(columns)}" for name in header if name not in columns
            ]
            faults += [f"column {name!r} is there twice" for name in dict.fromkeys(header) if header.count(name) > 1]
            faults += [f"column {name!r} is missing" for name in required if name not in header]
            problems += [f"{file}:{line}: {fault}" for fault in faults]
            if faults:
                return
        elif len(fields) != len(header):
            problems.append(f"{file}:{line}: {len(fields)} fields, and the header has {len(header)}")
        else:
            yield line, dict(zip(header, fields, strict=True))
    if header is None:
        problems.append(f"{file}:1: nothing in it: expected a header row with {', '.join(required)} ...")
