"""What of a batch came too late to be judged, by subject: an alert of that time may have to be looked at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alerting.model import Late, SubjectKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alerting.judging.heard import Heard

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]


def late(heard: Heard) -> list[Late]:
    """The subjects of rows that were not news, with the least and the greatest event time of those rows."""
    observations, found = heard.observations, []
    if heard.merged.late:
        judged = [stretch.row[stretch.row >= 0] for stretch in heard.merged.stretches]
        found += _spans(observations.positions, judged, "transponder", SubjectKind.TRANSPONDER)
    if len(heard.readings) < len(observations.readings):
        found += _spans(observations.readings, [heard.readings.row], "device", SubjectKind.DEVICE)
    return found


def _spans(rows: Table, judged: list[Ints], name: str, kind: SubjectKind) -> list[Late]:
    missed = np.ones(len(rows), bool)
    for some in judged:
        missed[some] = False
    subjects, which = np.unique(rows[name][missed], return_inverse=True)
    times = rows["time"][missed]
    first, last = np.full(len(subjects), 2**62), np.full(len(subjects), -(2**62))
    np.minimum.at(first, which, times)
    np.maximum.at(last, which, times)
    spans = zip(subjects.tolist(), first.tolist(), last.tolist(), strict=True)
    return [Late(kind, subject, since, until) for subject, since, until in spans]
