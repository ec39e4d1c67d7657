"""Looking again at the alerts of one rule and subject, once rows of their time came late. Pure.

Rows that come late are not judged as if they were new. But what was told of the time they speak of may be wrong: the
level was not held after all, or the vessel was in the zone an hour earlier. So the rule is put to everything that is
stored of the subject, twice: as it came, which must give the alerts as they were told, and *in time*, as if no row had
come after a newer one of its series. What is left of an alert in the second telling decides:

* nothing: it is *retracted*;
* an episode that began or ended at another time, with another value or greatest severity, or several of them: it is
  *revised*, and says what was told before. If it is open and that is over, it is resolved too; if it was resolved and
  that still lasts, it is open again;
* the same: nothing is said.

An episode that lasts now and of which nothing was told is told now: it fires, for the reason ``late_data``. Of one that
is over nothing is told: history wakes nobody up.

The engine that judges live goes on from the second telling (``Found.states``): from what it would hold had nothing come
late. The alert that it has open stands for the episode that lasts, under its own id. So what was told since is not the
first telling alone: up to ``Case.cut`` the rows are to be taken in time, after it as they came, and ``Case.stands``
says which episodes an alert stands for.

An alert that the first telling does not find again (its rows are gone, its episode began before what was read), or that
is open under a rule that was edited since, is left as it is.

A silence is about what was heard and when, which rows that came late do not change: ``no_data`` is not looked at, nor
is that of a gateway or a source. Nor is a combined rule, which goes by what was known when. But a ``gap`` in what a
vessel sends is one by what it sent: here in time means that each fix was heard as it was made. One that is over is
retracted if the vessel sent often enough and what it sent was delivered late; while it lasts it is left, and the engine
goes on as it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import orjson

from alerting import messages
from alerting.model import AlertState, Event, RuleState, Severity, Transition, alert_id, shadow_id
from alerting.rejudging.case import Found
from alerting.rejudging.in_time import as_made, in_time, receive_times
from alerting.rejudging.telling import tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.rejudging.case import Case, Known
    from alerting.rejudging.telling import Episode

#: Kinds of rules about what was heard or known when, and not about what it said.
ABOUT_HEARING: Final = frozenset({"no_data", "gateway_silent", "source_away", "feed_silent", "combined"})
#: Kinds whose state is not that of a subject alone: the engine goes on as it was, and what is open is left.
_SHARED: Final = frozenset({"gap", "carried_beacons"})
#: In the details of what a review says: up to when rows were taken in time, where the engine goes on from that.
IN_TIME_UNTIL: Final = "in_time_until"
_SECOND: Final = 1_000_000


def review(case: Case) -> Found:
    """What is to be said of the alerts of a rule and subject now, and what the engine is to go on from."""
    if case.rule.kind in ABOUT_HEARING or not receive_times(case.rows):
        return Found(stands={alert: tuple(ids) for alert, ids in case.stands.items()})
    if case.rule.kind in _SHARED:
        return _Look(replace(case, states=None), None).found()
    if case.rule.kind != "encounter":
        return _Look(case, None).found()
    # Only the rows of those partners are there that alerts name.
    keys = frozenset(alert.key for alert in case.alerts)
    states = case.states and [state for state in case.states if state.key in keys]
    return _Look(replace(case, states=states), keys).found()


class _Look:
    def __init__(self, case: Case, keys: frozenset[str] | None) -> None:
        self._case, self._keys = case, keys
        rows = as_made(case.rows) if case.rule.kind == "gap" else in_time(case.rows)
        self._told = tell(case, case.cut, keys)
        self._true = tell(replace(case, rows=rows), case.now, keys, done=True)
        self._at = max(receive_times(case.rows))
        self._known = {alert.id: alert for alert in case.alerts}
        self._live = {} if case.states is None else open_alerts(case.states)  # by key, what the engine has open
        self._was = {alert.id: self._stood_for(alert) for alert in case.alerts}
        self._same = {alert.id: self._left_of(alert) for alert in case.alerts}
        self._sure = case.states is not None and self._told_is_live()
        self._lasting = self._true.lasting() if self._sure else {}
        self._takers = {key: taker for key, id_ in self._lasting.items() if (taker := self._taker(key, id_))}

    def found(self) -> Found:
        out, moved = Found(), False
        for alert in sorted(self._case.alerts, key=lambda alert: (alert.started_at, alert.id)):
            was, same = self._was[alert.id], self._same[alert.id]
            live = self._live.get(alert.key) == alert.id
            if was is None or (not self._sure and (alert.open or live)):
                continue
            changes = self._changes(alert, was, same)
            out.transitions += changes
            moved |= live != (self._takers.get(alert.key) == alert.id)
            if [id_ for id_, _ in same] != [alert.id]:
                out.stands[alert.id] = tuple(id_ for id_, _ in same)
        for key, id_ in sorted(self._lasting.items()):
            if key not in self._takers:
                out.transitions.append(self._late(self._true.episodes[id_]))
                moved = True
        if self._sure and (moved or self._went_otherwise()):
            out.states, out.keys = self._states(), self._keys
            out.meters = list(self._true.meters.values())
            from_there = {IN_TIME_UNTIL: messages.iso(self._case.now)}
            out.transitions = [replace(t, details={**t.details, **from_there}) for t in out.transitions]
        else:  # the engine goes on as it was
            out.stands = {alert: tuple(ids) for alert, ids in self._case.stands.items()}
        return out

    # --- what was told, and what is left of it

    def _stood_for(self, alert: Known) -> list[Episode] | None:
        """The episodes that an alert was told to be; None: they are not found again."""
        ids = self._case.stands.get(alert.id, (alert.id,))
        found = [self._told.episodes[id_] for id_ in ids if id_ in self._told.episodes]
        return found if len(found) == len(ids) else None

    def _left_of(self, alert: Known) -> list[tuple[UUID, Episode]]:
        was = self._was[alert.id] or ()
        # What is still there does not become what it follows, or what follows it.
        there = {w.first.alert_id for w in was} & self._true.episodes.keys()
        same = [
            (id_, episode)
            for id_, episode in self._true.episodes.items()
            if episode.first.key == alert.key
            and (id_ == alert.id or id_ in there or any(episode.overlaps(w, ends=not there) for w in was))
            # A gap ends when a fix is heard, which is after the next one has begun.
            and not (episode.is_gap and id_ != alert.id and id_ in self._known)
        ]
        return sorted(same, key=lambda one: one[1].first.started_at)

    def _told_is_live(self) -> bool:
        """Whether the first telling has those alerts open that the engine has."""
        lasting = self._told.lasting()
        return lasting.keys() == self._live.keys() and all(
            self._was.get(live := self._live[key]) is not None and id_ in self._case.stands.get(live, (live,))
            for key, id_ in lasting.items()
        )

    def _taker(self, key: str, episode: UUID) -> UUID | None:
        """The alert that stands for an episode that lasts; None: nothing was told of it."""
        live = self._live.get(key)
        alert = self._known.get(live) if live is not None else None
        if alert is not None and self._was[alert.id] is not None:
            same = [id_ for id_, _ in self._same[alert.id]]
            # What somebody has ended stands for what it began as, and not for what began anew.
            if episode in same and (alert.open or episode == same[0]):
                return alert.id
        return episode if episode in self._known else None

    def _went_otherwise(self) -> bool:
        """Whether in time the engine would hold something else than it does, which is as the first telling has it."""
        held = _plain(self._case.states or ())
        if _plain(self._told.states.values()) != held:
            return False
        return _plain(self._true.states.values()) != held or self._true.held != self._told.held

    def _states(self) -> list[RuleState]:
        out = []
        for key, state in sorted(self._true.states.items()):
            taker = self._takers.get(key)
            if state.state is not None and state.state.get("alert") and taker is not None:
                own = alert_id(self._case.rule.id, self._case.subject, key, self._known[taker].started_at)
                out.append(replace(state, state={**state.state, "alert": str(own)}))
            elif state.state is not None:
                out.append(state)
        return out

    # --- what is said

    def _changes(self, alert: Known, was: list[Episode], same: list[tuple[UUID, Episode]]) -> list[Transition]:
        now = [episode for _, episode in same]
        told = [dict(one) for one in alert.said] if alert.said is not None else [episode.said for episode in was]
        if not now:
            return [self._retracted(alert, was[0], told)] if was and not alert.retracted else []
        stands = self._takers.get(alert.key) == alert.id
        found = []
        if alert.retracted or [episode.said for episode in now] != told:
            found.append(self._revised(alert, now, told, lasts=stands))
        end = now[-1].end
        if alert.open and not stands and end is not None:
            found.append(
                replace(
                    self._mine(alert, end),
                    at=self._at,
                    details={**end.details, **_worst(now, end.severity), "reason": "late_data"},
                )
            )
        return found

    def _retracted(self, alert: Known, was: Episode, told: list[dict[str, Any]]) -> Transition:
        text = messages.retracted(self._case.rule, was.first.subject.name)
        details = {**was.first.details, **_worst([was], was.first.severity), "reason": "late_data", "was": told[0]}
        details |= self._delivered_late(was) if self._case.rule.kind == "gap" else {}
        return replace(
            self._mine(alert, was.first),
            state=AlertState.RESOLVED,
            change=Event.RETRACTED,
            at=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details,
        )

    def _delivered_late(self, was: Episode) -> dict[str, Any]:
        """How late what was sent in a silence came, of which the first."""
        fixes = self._case.rows.positions
        fixes = fixes[fixes["time"] > was.first.started_at]
        first = fixes[np.argmin(fixes["time"])]
        delay = int(first["received_at"] - first["time"])
        return {"reason": "delivered_late", "delay_seconds": delay // _SECOND}

    def _revised(self, alert: Known, now: list[Episode], told: list[dict[str, Any]], *, lasts: bool) -> Transition:
        basis = now[-1].last if lasts else now[0].first
        text = messages.revised(messages.Text(basis.summary_en, basis.summary_vi))
        severity = now[-1].last.severity
        details = {**basis.details, **_worst(now, severity), "reason": "late_data"}
        details |= {"was": told[0]} if told else {}
        return replace(
            self._mine(alert, basis),
            state=AlertState.FIRING if alert.open or (lasts and alert.opens(severity)) else AlertState.RESOLVED,
            change=Event.REVISED,
            severity=severity,
            at=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details | {"now": [episode.said for episode in now]},
        )

    def _late(self, episode: Episode) -> Transition:
        """That something lasts of which nothing was told, as it is now."""
        text = messages.told_late(messages.Text(episode.last.summary_en, episode.last.summary_vi))
        return replace(
            episode.last,
            change=None,
            known=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details={**episode.last.details, "reason": "late_data"},
        )

    def _mine(self, alert: Known, transition: Transition) -> Transition:
        """Its name does not change, nor the start that it is named for."""
        return replace(transition, alert_id=alert.id, started_at=alert.started_at, known=self._at)


def _worst(episodes: Iterable[Episode], severity: Severity) -> dict[str, str]:
    worst = max((episode.worst for episode in episodes), key=lambda one: one.rank)
    return {"worst_severity": worst.value} if worst is not severity else {}


def open_alerts(states: Iterable[RuleState]) -> dict[str, UUID]:
    """By key, the alert that an engine has open, under the name that it is stored by."""
    out = {}
    for state in states:
        if state.state is not None and state.state.get("alert"):
            own = UUID(str(state.state["alert"]))
            out[state.key] = shadow_id(own) if state.state.get("shadow") else own
    return out


def _plain(states: Iterable[RuleState]) -> dict[str, Any]:
    """By key, as JSON has it; not whose alert it is."""
    held = {state.key: {**state.state, "alert": None} for state in states if state.state is not None}
    plain: dict[str, Any] = orjson.loads(orjson.dumps(held, default=dict, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain
