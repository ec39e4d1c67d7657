"""Services of the library Apprise, by the URLs that name them; and what may be passed on of what the library logs."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from typing import Any, Final

#: What the library and those below it log through; their words hold tokens and whole URLs.
_LOGGERS: Final = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


class Reasons(logging.Handler):
    """Keeps of what is logged in a thread the HTTP status, which is no secret, and passes nothing on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if status := re.search(r"\berror=(\d{3})\b", text):
            self._said.reason = f"HTTP {status[1]}"
        elif "onnection" in text:
            self._said.reason = "no connection"

    def take(self) -> str:
        """Why the last call of this thread failed."""
        reason, self._said.reason = getattr(self._said, "reason", "no reason given"), "no reason given"
        return str(reason)


reasons: Final = Reasons()


def service(url: str, name: str) -> Any:
    """What a URL stands for: an ``apprise.NotifyBase``.

    Raises:
        ValueError: the library is not installed, or knows no such service; one line that does not repeat the URL.
    """
    for logger in map(logging.getLogger, _LOGGERS):
        logger.propagate = False
        if reasons not in logger.handlers:
            logger.addHandler(reasons)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports
            import apprise  # noqa: PLC0415  # optional

            asset = apprise.AppriseAsset(app_id="haidang", app_desc="haidang", app_url="", async_mode=False)
            made = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    except ModuleNotFoundError:
        raise ValueError("needs the library Apprise: pip install 'haidang[chat]'") from None
    if made is None:
        raise ValueError(f"{name} is none that Apprise knows, or lacks a part")
    return made
