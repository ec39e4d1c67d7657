"""The ways out: one module each, opened from its settings."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, assert_never

from alerting.channels.alertmanager import Alertmanager
from alerting.channels.chat import Chat
from alerting.channels.log import Log
from alerting.channels.mqtt import Mqtt
from alerting.channels.settings import (
    AlertmanagerSettings,
    AppriseSettings,
    ChannelSettings,
    LogSettings,
    MqttSettings,
    SmtpSettings,
    WebhookSettings,
)
from alerting.channels.smtp import Smtp
from alerting.channels.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from alerting.channels.base import Channel


def open_channel(settings: ChannelSettings) -> Webhook | Mqtt | Alertmanager | Smtp | Chat | Log:
    """The channel, to be entered with ``async with``. Reads certificate files; connects to nothing yet.

    Raises:
        OSError: a certificate file cannot be read.
        ssl.SSLError: it holds no certificate.
    """
    match settings:
        case WebhookSettings():
            return Webhook(settings)
        case MqttSettings():
            return Mqtt(settings)
        case AlertmanagerSettings():
            return Alertmanager(settings)
        case SmtpSettings():
            return Smtp(settings)
        case AppriseSettings():
            return Chat(settings)
        case LogSettings():
            return Log(settings)
        case other:
            assert_never(other)


@asynccontextmanager
async def open_channels(settings: Iterable[ChannelSettings]) -> AsyncIterator[Mapping[str, Channel]]:
    """All channels by name, for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        yield {one.name: await stack.enter_async_context(open_channel(one)) for one in settings}
