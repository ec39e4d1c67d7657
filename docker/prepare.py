#!/usr/bin/env python3
"""Make what compose.yaml takes as secrets: passwords, and a certificate authority with the broker's certificate.

    python3 docker/prepare.py [--host NAME]... [--gateway NAME]...

Run it again to add gateways or names of the broker: what exists is kept. Needs Python's standard library and openssl.
Everything goes to docker/secrets, a folder that only its owner may enter; the files in it are readable, because each
container reads its own under a user of its own. Give gateways ``mqtt_ca.crt`` and their password; the authority's key
(``mqtt_ca.key``) signs the next certificate and belongs in a safe place.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import ipaddress
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
USERS = ("haidang", "officer")  # beside the gateways; mosquitto/acl says what each may
RESERVED = {*USERS, "alerts"}  # "alerts" is a level of our own topics
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
DAYS = "3650"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the secrets of docker/compose.yaml; what exists is kept.")
    parser.add_argument("--host", action="append", default=[], help="name or address that gateways call the broker by")
    parser.add_argument("--gateway", action="append", default=[], help="a gateway that may log in to the broker")
    parser.add_argument("--secrets", type=Path, default=HERE / "secrets", help="where to put them")
    given = parser.parse_args()
    for gateway in given.gateway:
        if not NAME.fullmatch(gateway) or gateway in RESERVED:
            parser.error(f"{gateway!r} cannot be the name of a gateway")
    folder: Path = given.secrets
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    passwords(folder)
    broker_users(folder, given.gateway)
    certificates(folder, ["mosquitto", "localhost", "127.0.0.1", *given.host])
    sys.stdout.write(f"{folder} is ready; broker users: {', '.join(sorted(broker_names(folder)))}\n")
    return 0


def passwords(folder: Path) -> None:
    """The database's and Grafana's, and the connection strings made of them."""
    admin = kept(folder / "db_admin_password")
    service = kept(folder / "db_service_password")
    kept(folder / "grafana_db_password")
    kept(folder / "grafana_admin_password")
    write(folder / "db_admin_dsn", f"postgresql://postgres:{admin}@db:5432/haidang")
    write(folder / "db_service_dsn", f"postgresql://ingest:{service}@db:5432/haidang")


def broker_users(folder: Path, gateways: list[str]) -> None:
    """One file with each user's password, and mosquitto's file with the hashes of all."""
    for user in (*USERS, *gateways):
        kept(folder / f"mqtt_{user}" if user in USERS else folder / f"mqtt_gateway_{user}")
    lines = [
        f"{user}:{mosquitto_hash(path.read_text().strip())}" for user, path in sorted(broker_names(folder).items())
    ]
    write(folder / "mqtt_passwords", "".join(f"{line}\n" for line in lines))


def broker_names(folder: Path) -> dict[str, Path]:
    """User -> file of the password."""
    gateways = {path.name.removeprefix("mqtt_gateway_"): path for path in folder.glob("mqtt_gateway_*")}
    return {user: folder / f"mqtt_{user}" for user in USERS} | gateways


def mosquitto_hash(password: str) -> str:
    """As mosquitto_passwd(1) writes it: PBKDF2 with SHA-512."""
    iterations, salt = 101, secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def certificates(folder: Path, names: list[str]) -> None:
    """An authority, made once, and the broker's certificate for ``names`` and those it has already."""
    ca, ca_key = folder / "mqtt_ca.crt", folder / "mqtt_ca.key"
    cert, key = folder / "mqtt_server.crt", folder / "mqtt_server.key"
    if not (ca.exists() and ca_key.exists()):
        openssl(
            *("req", "-x509", *CURVE, "-days", DAYS, "-keyout", str(ca_key), "-out", str(ca)),
            *("-subj", "/CN=Hai Dang MQTT authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
        ca_key.chmod(0o600)
    known = folder / "mqtt_server.names"
    had = known.read_text().split() if known.exists() else []
    wanted = list(dict.fromkeys([*had, *names]))
    if wanted == had and cert.exists() and key.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        request, extensions = Path(scratch) / "request", Path(scratch) / "extensions"
        extensions.write_text(
            f"subjectAltName={','.join(map(alternative, wanted))}\n"
            "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        )
        openssl("req", *CURVE, "-keyout", str(key), "-out", str(request), "-subj", "/CN=mosquitto")
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-set_serial", serial()),
            *("-days", DAYS, "-extfile", str(extensions), "-out", str(cert)),
        )
    for path in (ca, cert, key):
        path.chmod(0o644)
    write(known, "\n".join(wanted))


def alternative(name: str) -> str:
    """``name`` as an entry of subjectAltName."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name):
            sys.exit(f"{name!r} is no host name or address")
        return f"DNS:{name}"
    return f"IP:{name}"


def serial() -> str:
    return str(secrets.randbits(120))


def openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)  # noqa: S603, S607
    if done.returncode != 0:
        sys.exit(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def kept(path: Path) -> str:
    """The password in ``path``, made if absent: 192 bits in characters that need no escaping anywhere."""
    if not path.exists():
        write(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def write(path: Path, text: str) -> None:
    path.touch(mode=0o644)
    path.chmod(0o644)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
