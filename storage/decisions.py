"""Changes of alerts, as the statements that write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alerting.model import Event
from storage import statements
from storage.payload import changed_row, json_text
from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alerting.model import Transition


@dataclass(slots=True)
class Decisions:
    """Rows of each statement, as JSON."""

    fires: str | None = None
    changes: list[str] = field(default_factory=list)  # waves: each has one change of an alert at most
    resolves: str | None = None
    joins: str | None = None  # which alerts, and when it became known that they are over, of those that are
    settles: str | None = None  # which alerts

    def statements(self) -> list[tuple[bytes, tuple[str]]]:
        """To be carried out in this order; each answers how many it changed."""
        given = (
            *((statements.FIRE_ALERTS, self.fires), (statements.JOIN_INCIDENTS, self.joins)),
            *((statements.CHANGE_ALERTS, wave) for wave in self.changes),
            *((statements.RESOLVE_ALERTS, self.resolves), (statements.SETTLE_INCIDENTS, self.settles)),
        )
        return [(statement, (rows,)) for statement, rows in given if rows is not None]

    def counts(self, answers: Sequence[int]) -> tuple[int, int, int]:
        """How many alerts were fired, changed and resolved, by what the statements answered."""
        of: dict[bytes, int] = {}
        for (statement, _), answer in zip(self.statements(), answers, strict=True):
            of[statement] = of.get(statement, 0) + answer
        fired, changed, resolved = statements.FIRE_ALERTS, statements.CHANGE_ALERTS, statements.RESOLVE_ALERTS
        return of.get(fired, 0), of.get(changed, 0), of.get(resolved, 0)


def decisions(transitions: Iterable[Transition]) -> Decisions:
    """Those that write these. Of an alert each is done once: fired, and ended, where retracted is more than resolved.

    Raises:
        UnicodeEncodeError, OverflowError, orjson.JSONEncodeError: a value cannot be encoded.
    """
    fires: dict[str, dict[str, Any]] = {}
    changes: dict[str, list[dict[str, Any]]] = {}
    resolves: dict[str, dict[str, Any]] = {}
    for transition in transitions:
        id_ = str(transition.alert_id)
        row = changed_row(transition)
        if transition.event in {Event.RESOLVED, Event.RETRACTED}:
            if id_ not in resolves or transition.event is Event.RETRACTED:
                resolves[id_] = row
            continue
        if transition.event is not Event.FIRING:
            changes.setdefault(id_, []).append(row)
            continue
        fires.setdefault(id_, row | _new(transition))
    waves = max((len(of) for of in changes.values()), default=0)
    touched = sorted(fires.keys() | changes.keys() | resolves.keys())
    ended = [{"id": id_, "known": row["known"]} for id_, row in resolves.items()]
    return Decisions(
        json_text(list(fires.values())) if fires else None,
        [json_text([of[n] for of in changes.values() if n < len(of)]) for n in range(waves)],
        json_text(list(resolves.values())) if resolves else None,
        json_text({"touched": touched, "ended": ended}) if touched else None,
        json_text(touched) if changes or resolves else None,
    )


def _new(transition: Transition) -> dict[str, Any]:
    return {
        "rule_id": transition.rule_id,
        "rule_version": transition.rule_version,
        "subject_kind": transition.subject.kind,
        "subject_id": transition.subject.id,
        "subject_name": transition.subject.name,
        "key": transition.key,
        "started_at": iso(transition.started_at),
        "shadow": transition.shadow,
        "known_at": iso(transition.known or transition.at),
        "channels": transition.channels,
    }
