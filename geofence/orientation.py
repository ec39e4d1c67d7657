"""On which side of a line a point lies, never wrong.

The sign of a 2 x 2 determinant in doubles is trusted where it exceeds the greatest possible rounding error (the static
filter of Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997, section
4.3); the few others are worked out in fractions.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Signs = NDArray[np.int8]

_ULP: Final = 2.0**-53
#: Of the sum of the two products' magnitudes.
_ERROR: Final = (3 + 16 * _ULP) * _ULP
#: Products that underflow are not worth a thought: they go the exact way.
_TINY: Final = 1e-290


def side(ax: Floats, ay: Floats, bx: Floats, by: Floats, px: Floats, py: Floats) -> Signs:
    """1 where p lies left of the line from a to b, -1 right of it, 0 exactly on it. Finite numbers, broadcast."""
    east, north = ax - px, ay - py
    left, right = east * (by - py), north * (bx - px)
    det = left - right
    out = np.sign(det).astype(np.int8)
    unsure = np.abs(det) <= _ERROR * (np.abs(left) + np.abs(right)) + _TINY
    if unsure.any():
        ax, ay, bx, by, px, py = (np.broadcast_to(v, out.shape)[unsure] for v in (ax, ay, bx, by, px, py))
        # A difference of doubles is zero only if they are equal: two such products are zero, and so is the sign.
        on = ((ax == px) | (by == py)) & ((ay == py) | (bx == px))
        signs = np.zeros(len(ax), np.int8)
        for i in np.flatnonzero(~on).tolist():
            signs[i] = _exact(*(float(v[i]) for v in (ax, ay, bx, by, px, py)))
        out[unsure] = signs
    return out


def maybe_on(ax: Floats, ay: Floats, bx: Floats, by: Floats, px: Floats, py: Floats) -> Signs:
    """As ``side``, but 0 also where doubles alone cannot tell."""
    left, right = (ax - px) * (by - py), (ay - py) * (bx - px)
    det = left - right
    sure = np.abs(det) > _ERROR * (np.abs(left) + np.abs(right)) + _TINY
    signs: Signs = np.sign(det).astype(np.int8) * sure
    return signs


def _exact(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> int:
    x, y = Fraction(px), Fraction(py)
    det = (Fraction(ax) - x) * (Fraction(by) - y) - (Fraction(ay) - y) * (Fraction(bx) - x)
    return (det > 0) - (det < 0)
