"""Real certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def self_signed(folder: Path, *names: str, stem: str = "server", days: int = 2) -> tuple[Path, Path]:
    """(certificate, key) for DNS ``names`` and 127.0.0.1 where that is one of them; the certificate is its own CA."""
    cert, key = folder / f"{stem}.crt", folder / f"{stem}.key"
    alternatives = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        str(days),
    ]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", f"/CN={names[0]}"]
    command += ["-addext", f"subjectAltName={alternatives}"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
