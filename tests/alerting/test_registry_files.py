"""Files of the registry: what is written is read, and whatever is wrong is told with its line, all of it at once."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from alerting.registry.register import BEGINNING, END, DeviceEntry, Fitted, Site, Vessel, VesselEntry
from alerting.registry_files import DEVICE_COLUMNS, VESSEL_COLUMNS, RegistryError, read_devices, read_vessels
from decoders.identity import transponder_id

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = b"id,registration_no,length_m,mmsi,carried_from\n"
PROBLEM = re.compile(r"fleet\.csv:[1-9]\d*: \S")


def problems_of(read: Callable[[bytes], object], data: bytes) -> tuple[str, ...]:
    """What is wrong with it; nothing if it is read."""
    try:
        read(data)
    except RegistryError as error:
        return error.problems
    return ()


def refused(data: bytes, **options: Any) -> list[str]:
    with pytest.raises(RegistryError) as error:
        read_vessels(data, file="fleet.csv", **options)
    assert str(error.value).splitlines() == list(error.value.problems)
    return list(error.value.problems)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=120).map(HEADER.__add__),
        st.text(max_size=120).map(lambda text: HEADER + text.encode("utf-8", "surrogatepass")),
        st.lists(st.text('aS1,;"\n\r\x00{}ế574', max_size=30), max_size=6).map(lambda rows: "\n".join(rows).encode()),
        st.lists(st.binary(max_size=40).map(b"{".__add__), max_size=4).map(b"\n".join),
    )
)
def test_any_bytes_give_vessels_or_problems_with_their_lines(data: bytes) -> None:
    problems = problems_of(lambda data: read_vessels(data, file="fleet.csv"), data)
    event("refused" if problems else "read")
    assert all(PROBLEM.match(problem) and "\n" not in problem for problem in problems)
    numbers = [int(problem.split(":")[1]) for problem in problems]
    assert max(numbers, default=1) <= 1 + len(re.findall(rb"\n|\r", data))
    if not problems:
        entries, lines = read_vessels(data)
        assert {entry.vessel.id for entry in entries} == set(lines)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=120).map(b"gateway,device,lon,lat\n".__add__)))
def test_any_bytes_give_devices_or_problems_with_their_lines(data: bytes) -> None:
    problems = problems_of(lambda data: read_devices(data, file="fleet.csv"), data)
    assert all(PROBLEM.match(problem) for problem in problems)


word = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=10).map(
    lambda text: normalize("NFC", text)
)
days = st.none() | st.dates(datetime(1990, 1, 1).date(), datetime(2100, 1, 1).date())  # noqa: DTZ001


@st.composite
def fleets(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows as JSON would have them; of one id several, of which the first says what is said once."""
    rows: list[dict[str, Any]] = []
    for id_ in draw(st.lists(word, max_size=4, unique=True)):
        once: dict[str, Any] = {
            "id": id_,
            "registration_no": f"N{len(rows)}" if draw(st.booleans()) else None,
            "name": draw(st.none() | word),
            "flag": draw(st.sampled_from([None, "VN", "KH"])),
            "class": draw(st.sampled_from([None, "fishing"])),
            "length_m": draw(st.none() | st.sampled_from([6.0, 11.99, 15.25, 24.0])),
            "lists": draw(st.lists(word.map(lambda w: w.replace(";", "x")), max_size=2)),
            "licence_no": draw(st.none() | word),
        }
        start, end = draw(days), draw(days)
        if start is None or end is None or start <= end:
            once |= {"licence_from": start and start.isoformat(), "licence_until": end and end.isoformat()}
        rows.append(once)
        for number in draw(st.lists(st.integers(1, 999_999_999), max_size=3, unique=True)):
            since = draw(days)
            rows.append({"id": id_, "mmsi": number, "carried_from": since and since.isoformat()})
        if len(rows) > 1 and rows[-1]["id"] == id_ and "mmsi" in rows[-1]:
            rows[-1]["vms"] = "gw/t1"
    return rows


def as_csv(rows: list[dict[str, Any]], delimiter: str, *, bom: bool) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, VESSEL_COLUMNS, delimiter=delimiter, restval="")
    writer.writeheader()
    for row in rows:
        said = {name: "" if value is None else value for name, value in row.items()} | {
            "lists": "; ".join(row.get("lists", [])),
            "mmsi": f"{row['mmsi']:09d}" if "mmsi" in row else "",
        }
        writer.writerow(said)
    return (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode()


@given(fleets(), st.sampled_from([",", ";"]), st.booleans())
def test_what_is_written_as_csv_and_as_json_lines_is_read_as_the_same(
    rows: list[dict[str, Any]], delimiter: str, bom: bool
) -> None:
    for row in rows:  # an MMSI in JSON has its nine digits, too
        assert "mmsi" not in row or isinstance(row["mmsi"], int)
    lines = [{**row, **({"mmsi": f"{row['mmsi']:09d}"} if "mmsi" in row else {})} for row in rows]
    entries, _ = read_vessels(as_csv(rows, delimiter, bom=bom), file="a.csv")
    json_lines = "\n".join(json.dumps(line) for line in lines).encode()
    assert (read_vessels(json_lines, file="a.jsonl")[0] if rows else []) == entries

    by_id = {entry.vessel.id: entry for entry in entries}
    assert list(by_id) == list(dict.fromkeys(row["id"] for row in rows))
    for row in rows:
        entry = by_id[row["id"]]
        if "name" in row:
            vessel = entry.vessel
            assert (vessel.name, vessel.flag, vessel.kind, vessel.length_m) == (
                *(row["name"], row["flag"], row["class"], row["length_m"]),
            )
            assert vessel.lists == {" ".join(word.split()) for word in row["lists"]}
            given_any = any(row.get(key) for key in ("licence_no", "licence_from", "licence_until"))
            assert (vessel.licensed is not None) == given_any
        if "mmsi" in row:
            since = BEGINNING
            if row["carried_from"]:
                day = datetime.fromisoformat(row["carried_from"]).replace(tzinfo=UTC) - timedelta(hours=7)
                since = int(day.timestamp()) * 1_000_000
            assert Fitted("ais", str(row["mmsi"]), since, END) in entry.fitted
    for entry in entries:
        fitted = [(row["mmsi"], "vms" in row) for row in rows if row["id"] == entry.vessel.id and "mmsi" in row]
        assert len(entry.fitted) == len(fitted) + sum(both for _, both in fitted)


def test_a_span_of_days_ends_with_its_last_day_at_the_offset_that_is_meant() -> None:
    data = (
        b"id,licence_from,licence_until,mmsi,carried_from,carried_until\n"
        b"S-1,2026-01-01,2026-01-31,574000001,2026-01-01T06:00:00Z,2026-01-02T06:00:00+07:00\n"
    )
    [entry], _ = read_vessels(data)
    assert entry.vessel.licensed == tuple(micros(2026, *day, 17) for day in ((1, 0), (1, 31)))
    assert entry.fitted == (Fitted("ais", "574000001", micros(2026, 1, 1, 6), micros(2026, 1, 1, 23)),)
    [entry], _ = read_vessels(data, utc_offset="-00:30")
    assert entry.vessel.licensed is not None
    assert entry.vessel.licensed[0] == micros(2026, 1, 1, 0) + 1_800_000_000


def micros(year: int, month: int, day: int, hour: int) -> int:
    at = datetime(year, month, 1, tzinfo=UTC) + timedelta(days=day - 1, hours=hour)
    return int(at.timestamp()) * 1_000_000


def test_one_hull_with_two_beacons_is_two_rows_or_one_with_both() -> None:
    data = (
        'id,name,length_m,mmsi,vms\nS-1,Sóng  Biển,"11,5",574000001,gw/t1\nS-1,,,574000002,\nS-2,Sóng Biển,,,gw/t1\n'
    ).encode()
    one, other = read_vessels(data)[0]
    assert one.vessel == Vessel("S-1", name="Sóng Biển", length_m=11.5)
    assert [fitted.id for fitted in one.fitted] == [574_000_001, transponder_id("device", "gw/t1"), 574_000_002]
    assert [fitted.id for fitted in other.fitted] == [transponder_id("device", "gw/t1")]


def test_all_that_is_wrong_is_told_at_once() -> None:
    data = (
        b"id,registration_no,flag,length_m,mmsi,vms,carried_from,carried_until\n"
        b"S-1,N-1,VN,12,574000001,,2026-02-01,2026-01-01\n"
        b",N-2,V1,-1,12345,one,,\n"
        b'S-2,N-1,,"1,000,0",,,2026-01-01,\n'
        b"S-3\n"
        b"S-1,N-9,VN,,574000002,,,\n"
        b"S-1,,,,,,,\n"
        b"S-4,,,,574000003,,,\n"
        b"S-4,,,,574000003,,,\n"
        b"S-5,,,,574000004,,2026-01-01 06:00,tomorrow\n"
    )
    assert refused(data) == [
        "fleet.csv:2: carried_until is not after carried_from",
        "fleet.csv:3: 'id' is missing",
        """fleet.csv:3: flag: expected a flag State such as "VN" (ISO 3166-1 alpha-2), found 'V1'""",
        "fleet.csv:3: length_m: Input should be greater than 0",
        "fleet.csv:3: mmsi: expected an MMSI of nine digits, found '12345'",
        """fleet.csv:3: vms: expected "gateway/device" as in the topic of its positions, found 'one'""",
        "fleet.csv:4: length_m: expected a number, found '1,000,0'",
        "fleet.csv:5: 1 fields, and the header has 8",
        "fleet.csv:6: registration_no is N-9, and on line 2 N-1",
        "fleet.csv:7: id 'S-1' is there on line 2 already",
        "fleet.csv:9: 574000003 is said to be carried at that time on line 8 already",
        *(
            f"fleet.csv:10: carried_{end}: expected a day such as 2026-01-31,"
            f" or a time such as 2026-01-31T06:00:00+07:00, found {found!r}"
            for end, found in (("from", "2026-01-01 06:00"), ("until", "tomorrow"))
        ),
    ]


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (b"", ["fleet.csv:1: nothing in it: expected a header row with id ..."]),
        (b"\n\nid,id,x\n", ["fleet.csv:3: unknown column 'x': there are " + ", ".join(VESSEL_COLUMNS)]),
        (b"name\nA\n", ["fleet.csv:1: column 'id' is missing"]),
        (b'id,name\nA,"B\nC', ["fleet.csv:2: not CSV: unexpected end of data"]),
        (b'id,name\nA,"B\nC"\n,x', ["fleet.csv:2: name: control characters are not text"]),
        (b"id\nA\n\xff\n", ["fleet.csv:3: not UTF-8: byte 5"]),
        (b'{"id": "A", "colour": 1}', ["fleet.csv:1: unknown key 'colour'"]),
        (b'{"id": "A"}\n\n[]\n{"id": }', ["fleet.csv:3: expected a JSON object", "fleet.csv:4: not JSON:"]),
        (b'{"id": "A", "lists": [1, {}]}', ["fleet.csv:1: lists: "]),
        (b'{"id": true}', ["fleet.csv:1: id: Input should be a valid string"]),
        (b"id,registration_no\nA,N\nB,N\n", ["fleet.csv:3: registration_no 'N' is that of 'A' on line 2"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(data: bytes, problems: list[str]) -> None:
    found = refused(data)
    assert all(one.startswith(other) for one, other in zip(found, problems, strict=False)), found


def test_the_file_on_the_page_about_the_registry_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
    [example] = re.findall(r"^```csv\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    small, large = read_vessels(example.encode())[0]
    assert (small.vessel.length_m, len(large.fitted)) == (11.5, 2)
    assert large.vessel.lists == {"watched"}
    assert all(f"`{column}`" in page for column in (*VESSEL_COLUMNS, *DEVICE_COLUMNS))


def test_devices_are_read_with_place_and_groups() -> None:
    data = "\ufeffgateway;device;lon;lat;groups\nhue;kim-long;107,5666;16,4577;sông; lũ\nhue;air-1;;;\n"
    with pytest.raises(RegistryError, match="6 fields"):
        read_devices(data.encode(), file="fleet.csv")
    data = data.replace("sông; lũ", '"sông; lũ"')
    assert read_devices(data.encode()) == [
        DeviceEntry("hue", "kim-long", Site(107.5666, 16.4577, frozenset({"sông", "lũ"}))),
        DeviceEntry("hue", "air-1", Site()),
    ]
    with pytest.raises(RegistryError) as error:
        read_devices(
            b"gateway,device,lon,lat\nhue,a,107,\nhue,b,181,91\n,c,,\nhue,a/b,1,1\nhue,d,,\nhue,d,,\n", file="fleet.csv"
        )
    assert list(error.value.problems) == [
        "fleet.csv:2: lon and lat: both or neither",
        "fleet.csv:3: lon: Input should be less than or equal to 180",
        "fleet.csv:3: lat: Input should be less than or equal to 90",
        "fleet.csv:4: 'gateway' is missing",
        "fleet.csv:5: device: expected one level of a topic, found 'a/b'",
        "fleet.csv:7: hue/d is there on line 6 already",
    ]
    assert DEVICE_COLUMNS == ("gateway", "device", "lon", "lat", "groups")


def test_an_entry_is_the_same_however_it_is_written() -> None:
    one = read_vessels("id,home_port\nS-1, Thuận  An \n".encode())[0]
    assert (
        one
        == read_vessels("id,home_port\nS-1,Thua\u0323\u0302n An\n".encode())[0]
        == [VesselEntry(Vessel("S-1", home_port="Thuận An"))]
    )
