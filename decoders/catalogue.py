"""The metric catalogue: the one unit of every metric, and what a value can physically be (``metrics.toml``).

Decoders refuse values outside the range (``Reason.OUT_OF_RANGE``), storage seeds its ``metrics`` table from it, and a
rule whose unit differs from the catalogue's does not load. A metric that is not in here has no unit and no range.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True, frozen=True)
class Metric:
    """One measured quantity. ``low`` and ``high`` are inclusive, in ``unit``; ``source`` says where they come from."""

    name: str
    unit: str  # UCUM-like text as shown to people; "1" for a pure number
    low: float
    high: float
    description: str
    source: str


def _read() -> dict[str, Metric]:
    text = (resources.files("decoders") / "metrics.toml").read_text(encoding="utf-8")
    return {name: Metric(name, **said) for name, said in tomllib.loads(text).items()}


#: Metric name -> metric, in the order of the file.
METRICS: Final[Mapping[str, Metric]] = MappingProxyType(_read())
