"""Rules about what readings and positions come through: a gateway, a source. Each is one thing, whoever sends by it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from alerting.model import SubjectKind
from alerting.rules.base import BaseRule, Positive, Text
from alerting.rules.devices import Waits

Globs = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]


class LinkRule(BaseRule):
    """A rule about links of one kind (``subject``)."""

    exclude: Annotated[tuple[Text, ...], Field(strict=False)] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Globs on what it watches."""
        raise NotImplementedError

    @property
    def shortest(self) -> int:
        """Microseconds: never is less than this waited."""
        raise NotImplementedError

    @property
    def learned(self) -> bool:
        """Whether how long is waited is learned from the link itself."""
        return False

    def patience(self, interval: int | None) -> int:
        """How long is waited, microseconds, for what is heard at an interval; None: not known."""
        raise NotImplementedError

    def applies_to(self, name: str) -> bool:
        """Whether it watches the link of that name."""
        return any(fnmatchcase(name, pattern) for pattern in self.names) and not any(
            fnmatchcase(name, pattern) for pattern in self.exclude
        )


class GatewaySilentRule(Waits, LinkRule):
    """Nothing new from any device of a gateway for longer than ``after``, once any has been heard at all.

    A gateway is the first part of the name of a device, as the broker's ACL binds it. Readings count, and positions of
    devices; raw NMEA does not, for it is told by source alone.
    """

    subject: ClassVar[SubjectKind] = SubjectKind.GATEWAY

    kind: Literal["gateway_silent"]
    gateways: Globs = ("*",)

    @property
    def names(self) -> tuple[str, ...]:
        return self.gateways


class SourceAwayRule(LinkRule):
    """Nothing new, reading or position, by a source of readings for longer than ``after``, once one has come by it.

    Of a source of positions alone ``feed_silent`` says more: it knows how many vessels it heard.
    """

    subject: ClassVar[SubjectKind] = SubjectKind.SOURCE

    kind: Literal["source_away"]
    sources: Globs = ("*",)
    after: Positive

    @property
    def names(self) -> tuple[str, ...]:
        return self.sources

    @property
    def shortest(self) -> int:
        return self.after

    def patience(self, interval: int | None) -> int:  # noqa: ARG002  # nothing is learned
        return self.after
