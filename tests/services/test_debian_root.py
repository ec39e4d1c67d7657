"""The private root is made once, whole or not at all. A script stands in for debootstrap, which takes a minute."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services import debian_root, mirror
from services.debian_root import DebianRoot, obtain
from services.errors import ServicesUnavailable
from services.mirror import Source

MAKES = """\
#!/bin/sh
# Called as: --variant --include --keyring suite target archive
echo "$4 $6" >> "{calls}"
mkdir -p "$5/etc/apt" "$5/var/cache/apt/archives"
echo 'mosquitto:x:101:103::/var/lib/mosquitto:/usr/sbin/nologin' > "$5/etc/passwd"
echo "I: Unpacking base"
{last}
"""


class Machine:
    """A Debian whose debootstrap is a script."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.calls_file = folder / "calls"
        self.tool = folder / "debootstrap"
        self.said: list[str] = []
        self.does("exit 0")

    def does(self, last: str) -> None:
        self.tool.write_text(MAKES.format(calls=self.calls_file, last=last))
        self.tool.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def obtain(self) -> DebianRoot:
        return obtain(self.home, progress=self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    archive = Source("http://archive.example/debian", "bookworm", ("main",))
    monkeypatch.setattr(mirror, "read_sources", lambda: [archive])
    monkeypatch.setattr(debian_root, "_tools", lambda _: (str(made.tool), Path("/keyring")))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


def test_it_is_made_from_the_archive_of_the_machine_and_only_once(machine: Machine) -> None:
    root = machine.obtain()
    assert root == machine.obtain() == DebianRoot(machine.home / "root")
    assert machine.calls == ["trixie http://archive.example/debian"]
    assert root.is_whole
    assert any("installing Debian trixie" in line for line in machine.said)
    assert (root.user("mosquitto").uid, root.user("mosquitto").gid) == (101, 103)
    with pytest.raises(ServicesUnavailable, match="no user prometheus"):
        root.user("prometheus")


def test_a_failure_leaves_nothing_in_its_place_and_the_next_try_begins_anew(machine: Machine) -> None:
    machine.does("echo 'E: the archive is away'; exit 1")
    with pytest.raises(ServicesUnavailable, match=r"debootstrap failed: E: the archive is away \(log: .*\)"):
        machine.obtain()
    assert not (machine.home / "root").exists()
    machine.does("test ! -e $5/leftover && exit 0")
    (machine.home / "root.building/leftover").touch()
    assert machine.obtain().is_whole
    assert not (machine.home / "root.building").exists()


def test_of_two_at_once_one_makes_it_and_the_other_waits(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    machine.does(f"while ! test -e {gate}; do sleep 0.01; done")
    roots: list[DebianRoot] = []
    waits = threading.Event()

    def second() -> None:
        roots.append(obtain(machine.home, progress=lambda line: waits.set() if "waiting" in line else None))

    first_thread = threading.Thread(target=lambda: roots.append(machine.obtain()))
    first_thread.start()
    while not machine.calls:
        assert first_thread.is_alive()
    second_thread = threading.Thread(target=second)
    second_thread.start()
    assert waits.wait(10)
    gate.touch()
    first_thread.join(10)
    second_thread.join(10)
    assert [root.is_whole for root in roots] == [True, True]
    assert len(machine.calls) == 1


def test_without_root_rights_it_says_what_to_do_instead(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ServicesUnavailable, match=r"root rights.*docker compose -f docker/compose.yaml up.*--dsn"):
        machine.obtain()


def test_where_apt_knows_no_debian_it_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "read_sources", list)
    with pytest.raises(ServicesUnavailable, match="no Debian archive"):
        machine.obtain()
    assert not machine.home.exists()


def test_what_is_outside_of_the_root_has_no_name_in_it(tmp_path: Path) -> None:
    root = DebianRoot(tmp_path / "root")
    assert root.inside(root.services_folder / "x") == "/srv/x"
    with pytest.raises(ValueError, match="subpath"):
        root.inside(tmp_path)
