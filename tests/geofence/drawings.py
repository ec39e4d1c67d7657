"""Zones as their authors write them."""

from __future__ import annotations

import json
from typing import Any


def collection(shape: str, coordinates: Any, **properties: Any) -> str:
    """One feature, as the text of a GeoJSON file."""
    geometry = {"type": shape, "coordinates": coordinates}
    feature = {"type": "Feature", "id": "z", "properties": {"name": "Z", **properties}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})
