"""Loading rules and zones: from a pack that ships with the program, from files, or from folders of files.

Whatever is wrong is told as one line with file, line and reason; nothing is loaded unless everything can be.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from alerting.desk import book as policies
from alerting.desk import reach
from alerting.desk.book import NO_POLICIES, DeskBook, Inhibition, Procedure, in_turns
from alerting.registry.register import UNREGISTERED
from alerting.rules import KINDS, RULE, CombinedRule, Mode
from alerting.rules.base import fault
from decoders.catalogue import METRICS
from geofence.geometries import ZoneError
from geofence.zones import Zone, feature_lines, read_zones

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from alerting.desk.book import Policy
    from alerting.desk.notify import ChannelSpec
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from alerting.rules.base import Fault
    from decoders.catalogue import Metric

#: Where the packs that ship with the program lie; ``"pack:hue"`` is the folder ``hue`` of it.
PACKS: Final = Path(__file__).parent / "packs"

#: Of something within a rule: keys, and numbers of tables from 0.
_Keys = tuple[str | int, ...]

_PREFIX: Final = "pack:"
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\s-]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")
#: What a file may say beside its rules: policies of the desk; the offset from UTC that the days of its rules are in.
_TOP_KEYS: Final = {"rule", "utc_offset"} | policies.TABLES.keys()


class PackError(ValueError):
    """Rules or zones that cannot be loaded. ``str()`` is one line a problem; ``problems`` has them apart."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(slots=True, frozen=True)
class RuleBook:
    """Rules and the zones they speak of, checked against each other. Disabled rules are in it.

    ``desk``: what is done about their alerts. ``registry``: the vessels and devices that they are judged with.
    ``doubts``: what can be used and may not be meant so, a line each: a rule that asks for what nothing in the registry
    is, for one, matches nothing. ``drawn``: of the zones that are from files, where in them (``Drawn``), by id.
    """

    rules: tuple[Rule, ...]
    zones: tuple[Zone, ...]
    desk: DeskBook = NO_POLICIES
    registry: Registry = UNREGISTERED
    doubts: tuple[str, ...] = ()
    drawn: Mapping[str, Drawn] = field(default_factory=dict, compare=False)


@dataclass(slots=True, frozen=True)
class Drawn:
    """The place of a zone: a file of the sources, and which of its features it is, from 0."""

    file: Path
    feature: int

    def __str__(self) -> str:
        """With the line on which it begins, if it can still be read."""
        try:
            return f"{self.file}:{feature_lines(self.file.read_text('utf-8-sig'))[self.feature]}"
        except (OSError, ValueError, IndexError):
            return str(self.file)


def names() -> list[str]:
    """The packs that ship with the program."""
    return sorted(folder.name for folder in PACKS.iterdir() if (folder / "rules.toml").is_file())


def load(
    sources: Iterable[str | Path],
    *,
    zones: Iterable[Zone] = (),
    metrics: Mapping[str, Metric] = METRICS,
    channels: Sequence[ChannelSpec] | None = None,
    registry: Registry | None = None,
    now: int | None = None,
) -> RuleBook:
    """The rules and zones of all sources, in order.

    Args:
        sources: ``"pack:NAME"``, a ``.toml`` file of rules, a ``.geojson`` or ``.json`` file of zones, or a folder of
            such files.
        zones: zones known from elsewhere, of which rules may speak; one of the sources with the same id replaces it.
        metrics: the metric catalogue.
        channels: those that are set up; None: not known, and what rules say of them is believed.
        registry: what rules are judged with; None: not known, and nothing of it is doubted.
        now: microseconds UTC; None: no matter, and no rule is doubted because its time is over.

    Raises:
        PackError: anything is unknown, missing, malformed or there twice.
    """
    problems: list[str] = []
    files = [file for source in sources for file in _files(source, problems)]
    pairs = [pair for file in files if file.suffix != ".toml" for pair in _zones(file, problems)]
    own, drawn = [zone for zone, _ in pairs], {zone.id: place for zone, place in pairs}
    replaced = drawn.keys()
    found = [*(zone for zone in zones if zone.id not in replaced), *own]
    rules: list[Rule] = []
    where: dict[str, str] = {}
    known = {zone.id: zone for zone in found}
    desk: list[Policy] = []
    spoken: dict[str, _Place] = {}
    doubts: list[str] = []
    procedures: list[tuple[Procedure, _Place]] = []
    words = None if registry is None else registry.words()
    for file in files:
        if file.suffix == ".toml" and (read := _document(file, problems)) is not None:
            mine = _rules(file, *read, known, metrics, channels, where, spoken, problems)
            rules += [rule for _, rule in mine]
            doubts += _doubts(file, read[1], mine, words, now)
            desk += _policies(file, *read, desk, channels, procedures, problems, doubts)
    problems += _among(rules, spoken)
    doubts += _unheard(procedures, rules, channels or ())
    seen: set[str] = set()
    for zone in found:
        if zone.id in seen:
            problems.append(f"zone {zone.id!r} is there twice")
        seen.add(zone.id)
    if problems:
        raise PackError(problems)
    return RuleBook(tuple(rules), tuple(found), DeskBook.of(desk), registry or UNREGISTERED, tuple(doubts), drawn)


def files(sources: Iterable[str | Path]) -> list[Path]:
    """The files that ``load`` would read; sources that are not there are passed over."""
    return [file for source in sources for file in _files(source, [])]


def _files(source: str | Path, problems: list[str]) -> list[Path]:
    if isinstance(source, str) and source.startswith(_PREFIX):
        name = source.removeprefix(_PREFIX)
        if name not in names():
            problems.append(f"{source}: no such pack; there are: {', '.join(names())}")
            return []
        path = PACKS / name
    else:
        path = Path(source)
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix in {".toml", ".geojson"})
        if not inside:
            problems.append(f"{path}: no .toml or .geojson file in it")
        return inside
    if path.suffix not in {".toml", ".geojson", ".json"}:
        problems.append(f"{path}: expected a folder, a .toml file of rules or a .geojson file of zones")
        return []
    return [path]


def _read(file: Path, problems: list[str]) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError as error:
        problems.append(f"{file}: {error.strerror}")
        return None


def _zones(file: Path, problems: list[str]) -> list[tuple[Zone, Drawn]]:
    data = _read(file, problems)
    if data is None:
        return []
    try:
        return [(zone, Drawn(file, n)) for n, zone in enumerate(read_zones(data, file=str(file)))]
    except ZoneError as error:
        problems.append(str(error))
        return []


def _document(file: Path, problems: list[str]) -> tuple[dict[str, Any], str] | None:
    """What a file says, and its text."""
    data = _read(file, problems)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")  # Windows's editors mark UTF-8
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8: byte {error.start}")
        return None
    except tomllib.TOMLDecodeError as error:
        reason, line = _syntax(str(error), text)
        problems.append(f"{file}:{line}: not TOML: {reason}")
        return None
    except RecursionError:
        problems.append(f"{file}: nested too deep")
        return None
    lines = Lines(text)
    unknown = sorted(document.keys() - _TOP_KEYS)
    problems += [f"{file}:{lines.top(key)}: unknown key {key!r}; rules are [[rule]] tables" for key in unknown]
    return document, text


def _tables(file: Path, document: dict[str, Any], lines: Lines, name: str, problems: list[str]) -> list[dict[str, Any]]:
    tables = document.get(name, [])
    if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
        return tables
    many = "policies" if name in policies.TABLES else "rules"
    problems.append(f"{file}:{lines.top(name)}: {many} are [[{name}]] tables")
    return []


def _policies(
    file: Path,
    document: dict[str, Any],
    text: str,
    known: Iterable[Policy],
    channels: Sequence[ChannelSpec] | None,
    procedures: list[tuple[Procedure, _Place]],
    problems: list[str],
    doubts: list[str],
) -> list[Policy]:
    found: list[Policy] = []
    for name in policies.TABLES:
        lines = Lines(text, name)
        ids = {one.id for one in known if one.kind == name}
        for number, table in enumerate(_tables(file, document, lines, name, problems)):
            one, faults = policies.policy(name, table)
            if one is not None and one.id in ids:
                faults.append((("id",), f"there is another {name} of that id"))
            if isinstance(one, Inhibition):
                others = [p for p in (*known, *found) if isinstance(p, Inhibition)]
                if circle := in_turns([*others, one]):
                    faults.append((("mutes",), f"nobody might be told of anything: {_circle(circle)}"))
            doubtful: list[Fault] = []
            if isinstance(one, Procedure) and channels is not None:
                faults += reach.faults(one, channels)
                doubtful = reach.doubts(one, channels)
                procedures.append((one, _Place(file, lines, number)))
            label = f"{name} {table.get('id', number + 1)}"
            for said, found_there in ((problems, faults), (doubts, doubtful)):
                for place, reason in found_there:
                    said.append(f"{file}:{lines.of(number, place)}: {label}: {' '.join(reason.split())}")
            if one is not None and not faults:
                ids.add(one.id)
                found.append(one)
    return found


def _unheard(
    procedures: Iterable[tuple[Procedure, _Place]], rules: Sequence[Rule], channels: Sequence[ChannelSpec]
) -> Iterator[str]:
    """Of alerts of which rules procedures would tell nobody, once all rules are there."""
    told = [rule for rule in rules if rule.enabled and rule.mode is Mode.LIVE]
    for procedure, at in procedures:
        for place, reason in reach.unheard(procedure, told, channels):
            yield f"{at.file}:{at.lines.of(at.number, place)}: procedure {procedure.id}: {reason}"


def _circle(inhibitions: Sequence[Inhibition]) -> str:
    names = [one.id for one in inhibitions]
    return ", and ".join(f"what {a!r} mutes may mute by {b!r}" for a, b in pairwise([*names, names[0]]))


def _rules(
    file: Path,
    document: dict[str, Any],
    text: str,
    zones: Mapping[str, Zone],
    metrics: Mapping[str, Metric],
    channels: Sequence[ChannelSpec] | None,
    where: dict[str, str],
    spoken: dict[str, _Place],
    problems: list[str],
) -> list[tuple[int, Rule]]:
    """The rules of a file, each with the number of its table."""
    lines = Lines(text)
    tables = _tables(file, document, lines, "rule", problems)
    rules = []
    for number, table in enumerate(tables):
        if "utc_offset" in document:
            table.setdefault("utc_offset", document["utc_offset"])
        rule, faults = _rule(table, zones, metrics)
        name = table.get("id")
        if rule is not None and rule.id in where:
            faults.append((("id",), f"the id is already that of the rule at {where[rule.id]}"))
        if rule is not None and rule.enabled and channels is not None:
            faults += reach.unknown(rule.channels or (), channels)
        label = f"rule {name!r}" if isinstance(name, str) else f"rule number {number + 1}"
        for place, reason in faults:
            problems.append(f"{file}:{lines.of(number, place)}: {label}: {' '.join(reason.split())}")
        if isinstance(name, str):
            spoken.setdefault(name, _Place(file, lines, number))
        if rule is not None and not faults:
            where[rule.id] = f"{file}:{lines.of(number, ())}"
            rules.append((number, rule))
    return rules


def _among(rules: Sequence[Rule], spoken: Mapping[str, _Place]) -> Iterable[str]:
    """What is wrong with rules that speak of others, once all are there: those that are refused are no news."""
    found = {rule.id: rule for rule in rules}
    for rule in rules:
        if not isinstance(rule, CombinedRule) or any(name in spoken and name not in found for name in rule.spoken):
            continue
        at = spoken[rule.id]
        for place, reason in rule.faults_among(found):
            yield f"{at.file}:{at.lines.of(at.number, place)}: rule {rule.id!r}: {reason}"


def _doubts(
    file: Path,
    text: str,
    rules: Iterable[tuple[int, Rule]],
    words: Mapping[str, Container[str]] | None,
    now: int | None,
) -> Iterator[str]:
    lines = Lines(text)
    for number, rule in rules:
        if not rule.enabled:
            continue
        found = [] if rule.mode is Mode.SHADOW else [*rule.unsaid(), *(() if words is None else rule.doubts(words))]
        if now is not None and rule.window[1] <= now:
            found.append((("valid_to",), f"valid_to {rule.valid_to} is over: nothing more is judged by it"))
        for place, reason in found:
            yield f"{file}:{lines.of(number, place)}: rule {rule.id!r}: {reason}"


def _rule(
    table: dict[str, Any], zones: Mapping[str, Zone], metrics: Mapping[str, Metric]
) -> tuple[Rule | None, list[Fault]]:
    """The rule of one table, and what is wrong with it as (place, reason)."""
    try:
        rule = RULE.validate_python(table)
    except ValidationError as error:
        faults = [_fault(e, table.get("kind")) for e in _apart(error.errors(include_url=False))]
        if "source" not in table:  # that hides what only a whole rule shows
            faults += [one for one in _rule({**table, "source": "-"}, zones, metrics)[1] if one not in faults]
        return None, faults
    return rule, [*rule.faults(metrics, zones), *rule.never()]


def _apart(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without those that follow from others: a list of nothing but wrong items is not empty."""
    within = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in within]


def _fault(error: ErrorDetails, kind: object) -> Fault:
    match error["type"]:
        case "union_tag_not_found":
            return ("kind",), f"'kind' is missing: {_one_of(KINDS)}"
        case "union_tag_invalid":
            return ("kind",), f"unknown kind {kind!r}: {_one_of(KINDS)}"
    return fault(error, kind)


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _syntax(message: str, text: str) -> tuple[str, int]:
    """Reason and line out of tomllib's message, "... (at line 3, column 5)" or "... (at end of document)"."""
    reason, _, at = message.rpartition(" (at ")
    found = re.match(r"line (\d+)", at)
    return reason or message, int(found[1]) if found else text.count("\n") + 1


class Lines:
    """Where in a TOML text its rules and their keys stand: tomllib gives values, a person wants a line.

    ``name``: of the tables that are looked for, rules or others that there may be several of.
    """

    def __init__(self, text: str, name: str = "rule") -> None:
        self._top: dict[str, int] = {}
        self._rules: list[dict[_Keys, int]] = []
        rule: dict[_Keys, int] | None = None
        table: _Keys = ()
        last: dict[_Keys, int] = {}  # of a rule: of tables within it that there may be several of, the number
        for number, line in _statements(text):
            if header := _HEADER.match(line):
                path = tuple(part.strip() for part in header[2].split("."))
                if header[1] == "[[" and path == (name,):
                    rule, table, last = {(): number}, (), {}
                    self._rules.append(rule)
                elif path[0] == name and rule is not None:
                    if header[1] == "[[":
                        several = (*_numbered(path[1:-1], last), path[-1])
                        rule.setdefault(several, number)
                        last[several] = last.get(several, -1) + 1
                    table = _numbered(path[1:], last)
                    rule.setdefault(table, number)
                else:
                    rule = None
                    self._top.setdefault(path[0], number)
            elif key := _KEY.match(line):
                path = tuple(part.strip() for part in key[1].split("."))
                if rule is None:
                    self._top.setdefault(path[0], number)
                else:
                    rule.setdefault((*table, *path), number)

    def top(self, key: str) -> int:
        """The line of a key or table beside the rules, or 1."""
        return self._top.get(key, 1)

    def of(self, rule: int, place: _Keys) -> int:
        """The line of a place within the rule of that number, or of the nearest thing around it that has one."""
        if rule >= len(self._rules):
            return 1
        while place not in self._rules[rule]:
            place = place[:-1]
        return self._rules[rule][place]


def _numbered(path: Iterable[str], last: Mapping[_Keys, int]) -> _Keys:
    """A path with the number of the table that is meant, where there are several of a name: the last of them."""
    out: _Keys = ()
    for part in path:
        out = (*out, part)
        if out in last:
            out = (*out, last[out])
    return out


@dataclass(slots=True, frozen=True)
class _Place:
    """Where a rule is written, good or not."""

    file: Path
    lines: Lines
    number: int


def _statements(text: str) -> Iterable[tuple[int, str]]:
    """Lines with their numbers from 1, those within multi-line strings left out."""
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = "" if line.count(closing) % 2 else closing
            continue
        yield number, line
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                closing = quotes
