"""Real certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def self_signed(folder: Path, *names: str, stem: str = "server", until: str | None = None) -> tuple[Path, Path]:
    """(certificate, key) for DNS ``names`` and 127.0.0.1 where that is one of them; the certificate is its own CA.

    It is valid for two days, or was for the year before ``until`` (YYYYMMDDHHMMSSZ).
    """
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
        "2",
    ]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", f"/CN={names[0]}"]
    command += ["-addext", f"subjectAltName={alternatives}"]
    subprocess.run(command, check=True, capture_output=True)
    if until is not None:
        _end(folder, cert, key, until, alternatives)
    return cert, key


def _end(folder: Path, cert: Path, key: Path, until: str, alternatives: str) -> None:
    """Sign a certificate anew with itself, to end at ``until`` (YYYYMMDDHHMMSSZ), a year after it began."""
    (folder / "index").write_text("")
    (folder / "serial").write_text("01\n")
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca=a\n[a]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        f"certificate={cert}\nx509_extensions=e\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\n[p]\ncommonName=supplied\n"
        f"[e]\nsubjectAltName={alternatives}\n"
    )
    begin = f"{int(until[:4]) - 1}{until[4:]}"
    sign = ["openssl", "ca", "-batch", "-config", str(folder / "ca.conf"), "-ss_cert", str(cert), "-selfsign"]
    sign += ["-keyfile", str(key), "-startdate", begin, "-enddate", until, "-notext", "-out", str(cert)]
    subprocess.run(sign, check=True, capture_output=True)
