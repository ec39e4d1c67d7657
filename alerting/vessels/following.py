"""What detectors have in common that follow one vessel for as long as it goes on doing something."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from alerting.vessels.detector import Detector
from alerting.vessels.teller import Alert, When

if TYPE_CHECKING:
    from dataclasses import Field
    from typing import ClassVar

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names


class Followed(Protocol):
    """What is kept of a vessel: a dataclass of what JSON knows."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    received: int  # receive time of the last fix that counted
    last: int  # and its event time


class Following(Detector):
    """At most one thing that lasts, and at most one alert about it, for each transponder.

    Args:
        ruled: the rule.
        names: what transponders are called.
        form: makes what is kept of the fields of its state.
        wait: receive time without a fix that counts after which it is over; None: it is not.
    """

    def __init__(self, ruled: Ruled, names: Names, form: type[Any], wait: int | None) -> None:
        super().__init__(ruled, names)
        self._form, self._wait = form, wait
        self._open: dict[int, Any] = {}
        self._alerts: dict[int, Alert] = {}
        self._soonest = 2**62

    def held(self) -> set[int]:
        return set(self._open)

    def alert_of(self, transponder: int) -> Alert | None:
        return self._alerts.get(transponder)

    def drop(self, transponder: int) -> None:
        self._open.pop(transponder, None)
        self._alerts.pop(transponder, None)

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        self.hold(state.subject_id, self._form(**said["followed"]))
        if alert := Alert.restore(said):
            self._alerts[state.subject_id] = alert
        return True

    def hold(self, transponder: int, followed: Followed) -> None:
        """Follow a vessel from now on."""
        self._open[transponder] = followed
        if self._wait is not None:
            self._soonest = min(self._soonest, followed.received + self._wait)

    def remember(self, transponder: int, out: Outcome) -> None:
        """See to it that it is found again as it is now."""
        said: dict[str, Any] = {"followed": asdict(self._open[transponder])}
        if alert := self._alerts.get(transponder):
            said |= alert.kept(self.ruled)
        self.keep(transponder, said, out)

    def release(self, transponder: int, out: Outcome) -> None:
        """Follow it no more; its alert has been ended."""
        self.drop(transponder)
        self.keep(transponder, None, out)

    def expire(self, now: int, out: Outcome) -> None:
        if self._wait is None or self._soonest >= now:
            return
        for transponder, followed in sorted(self._open.items()):
            if (due := followed.received + self._wait) >= now:
                continue
            if alert := self._alerts.get(transponder):
                at = followed.last + self._wait
                self.over(transponder, alert, When.due(due, transponder), at, "quiet", out)
            self.release(transponder, out)
        self._soonest = min((followed.received for followed in self._open.values()), default=2**61) + self._wait
