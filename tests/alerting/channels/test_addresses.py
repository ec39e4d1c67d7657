"""Where a webhook may connect."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.channels.addresses import may_connect, resolve
from alerting.channels.base import PermanentFailure, TemporaryFailure
from alerting.channels.settings import WebhookSettings
from alerting.channels.webhook import Webhook
from tests.alerting.samples import queued, transition

#: IANA special-purpose registry, as networks written out by hand: the oracle.
NOT_PUBLIC = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "168.63.129.16/32",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]

REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:53aa:64c:0:0:80ff:fffe",
    "2001:db8::1",
    "3fff::1",
    "64:ff9b:1::7f00:1",
    "192.88.99.1",
    "168.63.129.16",
    "0.1.2.3",
    "fd00:ec2::254",
    "2002:a9fe:a9fe::",
]
PUBLIC = ["1.1.1.1", "203.162.4.191", "2606:4700::1111", "2400:cb00::1", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not may_connect(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert may_connect(address)


@given(st.ip_addresses(v=4))
def test_every_special_ipv4_address_is_refused_however_it_is_wrapped(address: IPv4Address) -> None:
    special = any(address in network for network in NOT_PUBLIC)
    number = int(address)
    wrapped = [
        address,
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    if special:
        assert not any(may_connect(str(form)) for form in wrapped)
    assert len({may_connect(str(form)) for form in wrapped}) == 1


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_an_allowed_network_opens_itself_and_nothing_else(address: str) -> None:
    assert may_connect(address, [ip_network("10.1.0.0/16")])
    assert not may_connect("10.2.0.1", [ip_network("10.1.0.0/16")])
    assert not may_connect("::1", [ip_network("10.1.0.0/16")])
    assert may_connect("fd00::5", [ip_network("10.1.0.0/16"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::ffff:127.0.0.1", "0", "0.0.0.0", "::"),
        *("017700000001", "0x7f.1", "0:0:0:0:0:ffff:7f00:1", "2852039166", "0xa9fea9fe", "169.254.43518"),
    ],
)
async def test_a_name_for_loopback_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(PermanentFailure, match="not a public address"):
        await resolve(host, 80)


async def test_a_name_is_resolved_to_the_addresses_to_connect_to() -> None:
    assert "127.0.0.1" in await resolve("localhost", 80, [ip_network("127.0.0.0/8")])


async def test_a_name_that_does_not_resolve_may_resolve_later() -> None:
    with pytest.raises(TemporaryFailure, match=r"no-such-host\.invalid:80"):
        await resolve("no-such-host.invalid", 80)


@pytest.mark.parametrize("host", ["127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛocalhost", "１２７.0.0.1"])  # noqa: RUF001  # that is the point
async def test_a_name_in_letters_of_another_script_reaches_no_loopback(host: str) -> None:
    """Such names are mapped to ASCII by resolvers: either before we judge, or not at all."""
    try:
        settings = WebhookSettings.model_validate({"name": "hook", "url": f"http://{host}:1/"})
        channel = Webhook(settings)
    except (ValidationError, httpx.InvalidURL):
        return
    async with channel:
        with pytest.raises(PermanentFailure, match="not a public address"):
            await channel.send(queued(transition()))
