"""The MQTT broker mosquitto, from the private Debian root."""

from __future__ import annotations

import base64
import hashlib
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services import ports
from services.errors import ServerFailed
from services.ports import LOOPBACK
from services.probes import answers_mqtt
from services.server import Server, own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.debian_root import DebianRoot

PASSWORD_ITERATIONS: Final = 101  # what mosquitto_passwd uses

#: mosquitto.conf(5). Its own defaults drop QoS 1 messages without a word when 1000 wait for one client.
SETTINGS: Final[Mapping[str, str]] = {
    "per_listener_settings": "false",
    "max_queued_messages": "0",  # 0: no limit
    "max_queued_bytes": "0",
    "max_inflight_messages": "1000",
    "set_tcp_nodelay": "true",
    "persistence": "true",
    "autosave_interval": "5",  # seconds: a kill loses at most what came since
    "log_dest": "stderr",
    "log_timestamp_format": "%Y-%m-%dT%H:%M:%SZ",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates of a second listener, as files of this machine; they are copied to where mosquitto can see them."""

    certificate: Path
    key: Path
    authority: Path | None = None  # given: clients must show a certificate that this authority signed


class Mosquitto(Server):
    """mosquitto with MQTT 5 and 3.1.1 and no limit on what waits for a client that is away.

    Args:
        root: the private Debian.
        folder: below ``root.services_folder``.
        port: as for `Server`.
        passwords: user to password; without any, everybody may connect.
        acl: text of an access control file (mosquitto.conf(5), ``acl_file``).
        tls: opens a second listener, on `tls_port`.
        settings: over `SETTINGS`.
    """

    name = "mosquitto"

    def __init__(
        self,
        root: DebianRoot,
        folder: Path,
        *,
        port: int | None = None,
        passwords: Mapping[str, str] | None = None,
        acl: str | None = None,
        tls: Tls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, port=port)
        self.root = root
        self.passwords = dict(passwords or {})
        self.acl = acl
        self.tls = tls
        self.settings = {**SETTINGS, **(settings or {})}
        self._user = root.user("mosquitto")
        self._tls_port: int | None = None

    @property
    def url(self) -> str:
        """``mqtt://host:port``, without credentials."""
        return f"mqtt://{LOOPBACK}:{self.port}"

    @property
    def tls_port(self) -> int:
        """The port of the TLS listener.

        Raises:
            ServerFailed: there is none.
        """
        if self._tls_port is None:
            raise ServerFailed(f"{self.name} in {self.folder} has no TLS listener, or was not started by this object")
        return self._tls_port

    def _prepare(self, port: int) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        own(data, self._user.uid, self._user.gid, 0o700)
        lines = [f"{name} {value}" for name, value in self.settings.items()]
        lines.append(f"persistence_location {self.root.inside(data)}/")
        if self.passwords:
            lines += ["allow_anonymous false", f"password_file {self._write('passwords', self._password_lines())}"]
        else:
            lines.append("allow_anonymous true")
        if self.acl is not None:
            lines.append(f"acl_file {self._write('acl', self.acl)}")
        lines.append(f"listener {port} {LOOPBACK}")
        if self.tls is not None:
            while self._tls_port in {None, port} or not ports.is_free(self._tls_port):
                self._tls_port = ports.find_free()
            lines.append(f"listener {self._tls_port} {LOOPBACK}")
            lines.append(f"certfile {self._copy(self.tls.certificate, 'certificate.pem')}")
            lines.append(f"keyfile {self._copy(self.tls.key, 'key.pem')}")
            if self.tls.authority is not None:
                lines.append(f"cafile {self._copy(self.tls.authority, 'authority.pem')}")
                lines.append("require_certificate true")
        self._write("mosquitto.conf", "".join(f"{line}\n" for line in lines))

    def _ports(self, port: int) -> list[int]:
        return [port] if self._tls_port is None else [port, self._tls_port]

    def _command(self, port: int) -> list[str]:  # noqa: ARG002  # the port is in mosquitto.conf
        configuration = self.root.inside(self.folder / "mosquitto.conf")
        return self.root.command(self._user, "/usr/sbin/mosquitto", "-c", configuration)

    def _answers(self, port: int) -> bool:
        return answers_mqtt(port, level=5)

    def _write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        own(path, self._user.uid, self._user.gid, 0o600)
        return self.root.inside(path)

    def _copy(self, source: Path, name: str) -> str:
        target = self.folder / name
        shutil.copyfile(source, target)
        own(target, self._user.uid, self._user.gid, 0o600)
        return self.root.inside(target)

    def _password_lines(self) -> str:
        for user in self.passwords:
            if ":" in user or "\n" in user:
                raise ServerFailed(f"mosquitto cannot have a user {user!r}: no colon or line break may be in it")
        return "".join(f"{user}:{hashed(password)}\n" for user, password in self.passwords.items())


def hashed(password: str) -> str:
    """A password as mosquitto_passwd(1) writes it: ``$7$iterations$salt$PBKDF2-SHA512``, both in base 64."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ITERATIONS, 64)
    return f"$7${PASSWORD_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
