"""``haidang decode``."""

from __future__ import annotations

import gzip
import sys
import zlib
from codecs import BOM_UTF8
from enum import StrEnum
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from decoders.block import Block
from decoders.identity import source_id
from decoders.lines import Output, decode_file, observation_objects, reject_object
from decoders.mqtt import TopicDecoder
from ingest.output import refusals
from ingest.sources.base import SourceUnavailable
from ingest.sources.file import GZIP, publishes

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


class Format(StrEnum):
    """What the input holds."""

    AUTO = "auto"
    NMEA = "nmea"
    MQTT = "mqtt"


@refusals
def decode(
    file: Annotated[str, typer.Argument(help="A log; - for standard input.")] = "-",
    format: Annotated[Format, typer.Option(help="nmea: sentences; mqtt: JSON lines of publishes.")] = Format.AUTO,
    ignored: Annotated[
        bool, typer.Option("--ignored", help="Also tell, as rejects, which lines were passed over, and why.")
    ] = False,
    untrusted: Annotated[bool, typer.Option("--untrusted", help="Do not believe times that the lines carry.")] = False,
) -> None:
    """Observations as JSON lines on standard output, refused lines as JSON lines on standard error.

    The input may be compressed by gzip.

    Every line of the input is in the "lines" of an observation, is a reject's "line", or was passed over (a comment, a
    blank line, a sentence that is not AIS: see --ignored).
    """
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115  # closed below
    except OSError as exc:
        raise SourceUnavailable(f"{file}: {exc.strerror}") from exc
    name = "-" if file == "-" else Path(file).name
    with stream, BufferedReader(stream) as packed:  # type: ignore[type-var]  # has readinto: nothing else is asked of it
        chunks = _chunks(packed, file)
        head = next(chunks, b"").removeprefix(BOM_UTF8)
        mqtt = format is Format.MQTT or (format is Format.AUTO and head.lstrip()[:1] == b"{")
        rest = chain([head], chunks)
        outputs = (
            _recording(b"".join(rest), file)
            if mqtt
            else decode_file(rest, name=name, ignored=ignored, trusted=not untrusted)
        )
        out, err = sys.stdout.buffer, sys.stderr.buffer
        for output in outputs:
            (out if output.accepted else err).write(orjson.dumps(output.fields, option=orjson.OPT_APPEND_NEWLINE))
        out.flush()
        err.flush()


def _chunks(packed: BufferedReader[Any], file: str) -> Iterator[bytes]:
    try:
        stream = gzip.GzipFile(fileobj=packed) if packed.peek(len(GZIP)).startswith(GZIP) else packed
        while chunk := stream.read(_CHUNK):
            yield chunk
    except (OSError, EOFError, zlib.error) as exc:  # the last two of gzip
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else f"gzip: {exc}"
        raise SourceUnavailable(f"{file}: {reason}") from exc


def _recording(data: bytes, file: str) -> Iterator[Output]:
    """Each publish decoded by itself; ``lines`` and ``line`` are lines of the recording."""
    decoder = TopicDecoder()
    for number, delivery in publishes(data, file, file):
        block = Block(delivery.payload, source_id(file), delivery.origin, delivery.received_at, 0, line=number)
        found = decoder.decode([block])
        line = [number]
        for _, fields in observation_objects(found, lambda _message, line=line: line):  # type: ignore[misc]
            yield Output(accepted=True, fields=fields)
        for reject in found.rejects:
            yield Output(accepted=False, fields=reject_object(reject, number, reject.raw))
    for reject in decoder.flush().rejects:
        yield Output(accepted=False, fields=reject_object(reject, reject.line, reject.raw))
