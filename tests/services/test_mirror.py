"""Which archive is found among apt's sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mirror import Source, debian_archive, parse_deb822, parse_one_line, read_sources

if TYPE_CHECKING:
    from pathlib import Path

STOCK = """\
Types: deb
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://archive.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

THIRD_PARTIES = [
    Source("https://docker.example.com/linux/debian", "bookworm", ("stable",)),
    Source("https://node.example.com/node_20.x", "nodistro", ("main",)),
    Source("https://pg.example.org/pub/repos/apt", "bookworm-pgdg", ("main",)),
    Source("https://mono.example.com/repo/debian", "stable-buster", ("main",)),
    Source("https://ms.example.com/debian/12/prod", "bookworm", ("main",)),
    Source("http://archive.example.org/debian-security", "bookworm-security", ("main",)),
    Source("http://archive.example.org/debian", "bookworm-updates", ("main",)),
    Source("http://archive.example.org/debian", "bookworm-backports", ("main",)),
    Source("http://archive.example.org/ubuntu", "noble", ("main",)),
    Source("cdrom:[Debian GNU/Linux 13]/debian", "trixie", ("main",)),
]


def test_the_sources_a_debian_image_comes_with() -> None:
    found = list(parse_deb822(STOCK))
    assert [source.suite for source in found] == ["bookworm", "bookworm-updates", "bookworm-security"]
    assert debian_archive(found) == "http://archive.example.org/debian"


@pytest.mark.parametrize(
    ("line", "archive"),
    [
        ("deb http://a.example/debian bookworm main contrib", "http://a.example/debian"),
        ("deb http://a.example/debian/ bookworm main", "http://a.example/debian"),
        ("  deb\thttp://a.example/debian  trixie   main # as installed", "http://a.example/debian"),
        ("deb [arch=amd64 signed-by=/k/d.gpg] https://a.example/debian sid main", "https://a.example/debian"),
        ("deb http://a.example/debian/20250520T000000Z sid main", "http://a.example/debian/20250520T000000Z"),
        ("deb http://[a.example/debian trixie main", None),
        ("deb http://proxy.example:3142/mirror/debian stable main", "http://proxy.example:3142/mirror/debian"),
        ("deb file:/srv/mirror/debian trixie main", "file:/srv/mirror/debian"),
        ("deb-src http://a.example/debian bookworm main", None),
        ("# deb http://a.example/debian bookworm main", None),
        ("deb http://a.example/debian bookworm contrib", None),
        ("deb http://a.example/debian-security bookworm-security main", None),
        ("deb http://a.example/ubuntu noble main", None),
        ("deb http://a.example/debian ./", None),
        ("deb", None),
        ("", None),
    ],
)  # fmt: skip
def test_one_line_sources(line: str, archive: str | None) -> None:
    assert debian_archive(parse_one_line(line)) == archive


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb deb-src\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main",
        "types: deb\nuris:\n http://a.example/debian\nSUITES: trixie\ncomponents: contrib\n main\n",
        (
            "Enabled: yes\nTypes: deb\nURIs: http://a.example/debian/\nSuites: trixie\nComponents: main\n"
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n"
        ),
        "\n\n# first a comment\nTypes: deb\r\nURIs: http://a.example/debian\r\nSuites: trixie\r\nComponents: main\r\n",
    ],
)
def test_deb822_sources(text: str) -> None:
    assert debian_archive(parse_deb822(text)) == "http://a.example/debian"


@pytest.mark.parametrize("value", ["no", "false", "No", "off", "0"])
def test_a_stanza_that_is_switched_off_is_not_read(value: str) -> None:
    assert not list(parse_deb822(STOCK.split("\n\n", maxsplit=1)[0] + f"\nEnabled: {value}\n"))


WORD = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=8)
SOURCE = st.builds(
    Source,
    uri=WORD.map("http://{}.example/debian".format),
    suite=st.sampled_from(["bookworm", "trixie", "sid", "bookworm-security", "trixie-updates"]),
    components=st.lists(st.sampled_from(["main", "contrib", "non-free"]), min_size=1, unique=True).map(tuple),
    signed_by=st.sampled_from(["", "/usr/share/keyrings/debian-archive-keyring.gpg", "/etc/apt/keyrings/other.asc"]),
)


def one_line(source: Source) -> str:
    options = f"[arch=amd64 signed-by={source.signed_by}] " if source.signed_by else ""
    return f"deb {options}{source.uri} {source.suite} {' '.join(source.components)}\n"


def deb822(source: Source) -> str:
    signed = f"Signed-By: {source.signed_by}\n" if source.signed_by else ""
    components = "\n ".join(source.components)
    return f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\n{signed}Components: {components}\n"


@given(st.lists(SOURCE))
def test_both_formats_say_the_same(sources: list[Source]) -> None:
    assert list(parse_one_line("".join(map(one_line, sources)))) == sources
    assert list(parse_deb822("\n".join(map(deb822, sources)))) == sources


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    debian_archive([*parse_one_line(text), *parse_deb822(text)])


@given(st.permutations([*THIRD_PARTIES, Source("http://mirror.example.org/debian", "trixie", ("main",))]))
def test_the_main_archive_is_found_among_others_in_any_order(sources: list[Source]) -> None:
    assert debian_archive(sources) == "http://mirror.example.org/debian"
    assert debian_archive([source for source in sources if source in THIRD_PARTIES]) is None


def test_an_archive_that_debian_signs_wins_over_one_that_others_sign() -> None:
    other = Source("http://other.example/debian", "trixie", ("main",), "/etc/apt/keyrings/other.asc")
    own = Source("http://own.example/debian", "trixie", ("main",), "/usr/share/keyrings/debian-archive-keyring.pgp")
    assert debian_archive([other, own]) == debian_archive([own, other]) == "http://own.example/debian"


def test_files_are_read_as_apt_reads_them(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example/debian bookworm main\n")
    (tmp_path / "sources.list.d/debian.sources").write_text(STOCK)
    (tmp_path / "sources.list.d/a.list").write_text("deb http://second.example/debian bookworm main\n")
    (tmp_path / "sources.list.d/b.list.disabled").write_text("deb http://never.example/debian bookworm main\n")
    assert [source.uri for source in read_sources(tmp_path)][:3] == [
        "http://first.example/debian",
        "http://second.example/debian",
        "http://archive.example.org/debian",
    ]
    assert read_sources(tmp_path / "no such folder") == []


def test_a_list_of_mirrors_is_followed_to_its_first(tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text("# mirrors\n\nhttps://near.example/debian\tpriority:1\nhttps://far.example/debian\n")
    source = Source(f"mirror+file://{mirrors}", "trixie", ("main",))
    assert debian_archive([source]) == "https://near.example/debian"
    mirrors.unlink()
    assert debian_archive([source]) is None
