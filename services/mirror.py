"""Which Debian archive this machine installs from, as its own apt sources say (sources.list(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

APT: Final = Path("/etc/apt")
DEBIAN_KEYRING: Final = "debian-archive-keyring"

#: A suite of the main archive itself: a release by name or by its place in time, and neither its security fixes
#: nor its updates, which do not hold the whole release.
_RELEASE: Final = re.compile(
    r"(buster|bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
)
_MAIN_ARCHIVE: Final = re.compile(r"/debian(/\d{8}T\d{6}Z)?/?$")  # the second part on snapshots of the archive
_ONE_LINE: Final = re.compile(r"(?P<type>deb|deb-src)\s+(\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")

_NO: Final = frozenset({"no", "false", "without", "off", "disable", "0"})  # what apt takes for no


@dataclass(frozen=True, slots=True)
class Source:
    """One archive of one suite that apt installs packages from."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources of a ``.list`` file: one a line, ``deb [options] uri suite component...``."""
    for line in text.splitlines():
        if match := _ONE_LINE.fullmatch(line.split("#", 1)[0].strip()):
            if match["type"] != "deb":
                continue
            suite, *components = match["rest"].split()
            options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
            yield Source(match["uri"], suite, tuple(components), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of a ``.sources`` file: stanzas of fields, a value going on in lines that begin with a blank."""
    for stanza in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.split("\n"):
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                name = key.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in _NO:
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by", ""))


def read_sources(apt: Path = APT) -> list[Source]:
    """All sources of this machine, in the order apt reads them. Files that apt would not read are not read."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    sources: list[Source] = []
    for file in files:
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(file.suffix)
        if parse is not None and file.is_file():
            sources += parse(file.read_text(errors="replace"))
    return sources


def debian_archive(sources: Iterable[Source]) -> str | None:
    """The address of the Debian main archive among ``sources``, without a slash at its end; None if there is none.

    Security fixes, updates, backports and archives of third parties are passed over. Of several candidates, one that
    Debian's own key signs wins, and then the first.
    """
    candidates: list[tuple[bool, str]] = []
    for source in sources:
        uri = _follow_mirror_list(source.uri)
        if (
            uri is not None
            and "main" in source.components
            and _RELEASE.fullmatch(source.suite)
            and _MAIN_ARCHIVE.search(_path(uri))
        ):
            candidates.append((bool(source.signed_by) and DEBIAN_KEYRING not in source.signed_by, uri.rstrip("/")))
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _follow_mirror_list(uri: str) -> str | None:
    """The first address in the file that a ``mirror+file:`` source names; other addresses debootstrap reads as is."""
    scheme = uri.partition(":")[0]
    if scheme in {"http", "https", "file"}:
        return uri
    if scheme == "mirror+file":
        try:
            lines = Path(_path(uri)).read_text().splitlines()
        except OSError:
            return None
        return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), None)
    return None


def _path(uri: str) -> str:
    """The path of an address; empty if it is none."""
    try:
        return urlsplit(uri).path
    except ValueError:
        return ""
