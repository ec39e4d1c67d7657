"""What the service says of itself before anything has come."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from alerting.pack import RuleBook
from ingest.ledger import FATES
from ingest.service import Service
from ingest.settings import Database, Http, NmeaTcpSettings, NmeaUdpSettings, Settings
from ingest.telemetry import Telemetry


def test_a_crowd_is_counted_and_said_once_when_it_begins_and_once_when_it_is_over() -> None:
    telemetry, minute = Telemetry(), 60_000_000
    with capture_logs() as log:
        for at, places in ((0, {}), (1, {"meeting": 3}), (5, {"meeting": 4}), (14, {}), (16, {}), (17, {})):
            telemetry.crowded(places, at * minute)
    assert [(line["event"], line["rule"]) for line in log] == [("crowd_began", "meeting"), ("crowd_ended", "meeting")]
    assert telemetry.registry.get_sample_value("haidang_crowded_places_total", {"rule": "meeting"}) == 7


async def test_a_source_has_its_series_and_its_account_before_anything_came_of_it() -> None:
    service = Service(
        Settings(
            database=Database(dsn=SecretStr("postgresql://nobody@127.0.0.1:1/nothing")),
            sources={
                "coast": NmeaTcpSettings(type="nmea_tcp", mode="server", host="127.0.0.1", port=0),
                "island": NmeaUdpSettings(type="nmea_udp", port=0),
            },
            http=Http(port=0),
        ),
        RuleBook((), ()),
    )
    page = generate_latest(service.telemetry.registry).decode()
    samples = {
        (sample.name, sample.labels["source"], sample.labels.get("fate")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "source" in sample.labels
    }
    names = ("haidang_received_total", "haidang_in_flight", "haidang_source_connected")
    expected: set[tuple[str, str, str | None]] = {(name, source, None) for name in names for source in service.sources}
    expected |= {("haidang_messages_total", source, fate) for source in service.sources for fate in FATES}
    assert samples == dict.fromkeys(expected, 0.0)
    told = service.readiness()
    assert set(told["ledger"]) == set(told["sources"]) == {"coast", "island"}
    assert told["status"] == "degraded"  # nobody is connected yet
    await service.close()
