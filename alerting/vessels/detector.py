"""What detectors that look at one transponder at a time have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerting.judging.apart import key_of
from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.teller import Alert, Teller, When

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState, Subject
    from alerting.registry.names import Names
    from alerting.rules.base import BaseRule
    from alerting.vessels.fixes import Fixes
    from alerting.vessels.kinds import Kinds
    from decoders.records import Observations
    from geofence.tracks import Advance


class Detector:
    """One rule. What it holds is by transponder; of each at most one thing, kept as one state.

    ``by_number``: it judges all that comes under an identity, though it may be of two vessels (``geofence.apart``).
    """

    by_number = False

    def __init__(self, ruled: Ruled, names: Names) -> None:
        self.ruled, self.teller, self._names = ruled, Teller(ruled), names

    @property
    def rule(self) -> BaseRule:
        return self.ruled.rule

    def held(self) -> set[int]:
        """The transponders about which something is held."""
        raise NotImplementedError

    def alert_of(self, transponder: int) -> Alert | None:
        """That which is firing about a transponder."""
        raise NotImplementedError

    def drop(self, transponder: int) -> None:
        """Hold nothing about a transponder any more."""
        raise NotImplementedError

    def take_up(self, state: RuleState) -> bool:
        """Go on with what was held; False if that cannot be."""
        raise NotImplementedError

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        """Judge the rows of a stretch."""

    def observations(self, observations: Observations, advance: Advance, kinds: Kinds, out: Outcome) -> None:
        """Judge what is not among the judged rows of a batch: late ones, and messages that are no positions."""

    def expire(self, now: int, out: Outcome) -> None:
        """End what is due before an instant."""

    def subject(self, transponder: int, since: int | None = None) -> Subject:
        """A transponder, as it goes in what began at that event time."""
        return self._names.transponder(transponder, since)

    def forget(self, transponder: int, when: When, reason: str, out: Outcome) -> None:
        """A transponder is forgotten (``Forgotten``): its alert ends, for nothing else would end it."""
        alert = self.alert_of(transponder)
        if alert is not None:
            self.over(transponder, alert, when, alert.at, reason, out)
        self.drop(transponder)
        self.keep(transponder, None, out)

    def over(self, transponder: int, alert: Alert, when: When, at: int, reason: str, out: Outcome) -> None:
        """An alert ends for a reason that has nothing to do with its kind."""
        subject = self.subject(transponder, alert.started_at)
        text = messages.vessel_over(self.rule, subject.name, at, reason)
        self.teller.change(out, when, subject, "", alert, Event.RESOLVED, at, text, {"reason": reason})

    def keep(self, transponder: int, state: Mapping[str, Any] | None, out: Outcome) -> None:
        """What must be found again after a restart."""
        out.remember(self.rule.id, self.subject(transponder), key_of(transponder, ""), state)
