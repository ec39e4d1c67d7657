"""What is kept of the second of two vessels under one identity: beside that of the first, with a key of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alerting.model import SubjectKind
from geofence.apart import owner, second

if TYPE_CHECKING:
    from alerting.model import RuleState

#: At the end of the key; in no key of rules, zones or partners.
_MARK: Final = " (B)"


def key_of(transponder: int, key: str) -> str:
    """The key of what is kept of a track."""
    return key if owner(transponder) == transponder else key + _MARK


def of_track(state: RuleState) -> RuleState:
    """A state by the track that it is about, with the key it has there."""
    if state.subject_kind is not SubjectKind.TRANSPONDER or not state.key.endswith(_MARK):
        return state
    return replace(state, subject_id=second(state.subject_id), key=state.key.removesuffix(_MARK))
