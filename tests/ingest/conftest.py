"""What tests of the service share."""

from __future__ import annotations

from uuid import uuid4

import pytest


@pytest.fixture
def gateway() -> str:
    """A gateway of the test's own, so that tests can share a broker."""
    return f"gw-{uuid4().hex[:8]}"
