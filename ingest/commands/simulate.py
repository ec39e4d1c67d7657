"""``haidang simulate fleet|sensors|scenario|load``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alerting import pack
from decoders.times import microseconds
from ingest.commands.options import Json
from ingest.loop import runner
from ingest.output import FAILED, json_line, refusals
from simulators.areas import Area, load_areas
from simulators.drive import TruthFile, drive
from simulators.events import BadConfig, Truth
from simulators.fleet import FleetConfig, fleet_events
from simulators.load import AisLoad, MqttLoad, load_ais, load_mqtt
from simulators.mqtt import Broker, MqttTarget, Protocol
from simulators.scenario import ScenarioConfig, demonstration, scenario_events
from simulators.sensors import SensorConfig, sensor_events
from simulators.series import HOUR, Weather
from simulators.wire import NmeaLog, Recording, SentenceTarget, Target, TcpConnect, TcpListen, UdpSend

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from simulators.events import Event

app = typer.Typer(no_args_is_help=True)


class MqttVersion(StrEnum):
    """Protocol versions a broker may speak."""

    V5 = "5"
    V311 = "3.1.1"


class Wire(StrEnum):
    """What the load generator sends."""

    MQTT = "mqtt"
    AIS = "ais"


Seed = Annotated[int, typer.Option("--seed", help="Same seed and start, same bytes.")]
For = Annotated[
    float | None, typer.Option("--for", min=0.001, help="Seconds on the wire's clock; default: until stopped.")
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="What the first instant is, ISO 8601; default: now.")
]
Speed = Annotated[
    float,
    typer.Option("--speed", min=0.001, help="Boats or weather move so many times faster; time stamps stay the wire's."),
]
Tcp = Annotated[list[str] | None, typer.Option("--tcp", metavar="HOST:PORT", help="Connect and send sentences.")]
Listen = Annotated[list[str] | None, typer.Option("--listen", metavar="HOST:PORT", help="Serve sentences to clients.")]
Udp = Annotated[list[str] | None, typer.Option("--udp", metavar="HOST:PORT", help="Send sentences as datagrams.")]
Mqtt = Annotated[
    str | None, typer.Option("--mqtt", metavar="URL", help="Publish: mqtt://\\[user:password@]host\\[:port]")
]
MqttProtocol = Annotated[MqttVersion, typer.Option("--mqtt-version", help="MQTT version of the broker.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write a file, not in real time: sentences, or an MQTT recording if named *.jsonl."),
]
TruthPath = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        help="Ground truth as JSON lines: what happens (zones entered and left, levels passed), not where boats are. In"
        " a short time nothing may happen.",
        dir_okay=False,
    ),
]
Vessels = Annotated[int, typer.Option("--vessels", min=0, help="Boats of the fleet.")]
Zones = Annotated[
    Path | None,
    typer.Option("--zones", help="GeoJSON; default: the zones of the Huế rule pack.", dir_okay=False),
]
FirstEntry = Annotated[
    float | None, typer.Option("--first-entry", min=0.0, help="Seconds after which boats begin to enter the zones.")
]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="NAME[@HOURS]", help="flood, wind or smog, from so many hours of weather on."),
]
Interval = Annotated[float, typer.Option("--interval", min=0.001, help="Seconds of weather between two readings.")]
Gateways = Annotated[int, typer.Option("--gateways", min=1, help="MQTT gateways of the sensor network.")]
Dropouts = Annotated[
    float, typer.Option("--dropouts", min=0.0, help="How often a day of weather each gateway falls silent for a while.")
]
Duplicates = Annotated[float, typer.Option("--duplicates", min=0.0, max=1.0, help="Part of the messages sent twice.")]


def _address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise BadConfig(f"{option} {text}: not of the form HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _areas(path: Path | None) -> tuple[Area, ...]:
    return load_areas(path if path is not None else pack.PACKS / "hue" / "zones.geojson")


def _weather(events: Sequence[str] | None) -> Weather:
    onsets: dict[str, float] = {}
    for text in events or ():
        name, at, hours = text.partition("@")
        if name not in ("flood", "wind", "smog"):
            raise BadConfig(f"--event {text}: there are flood, wind and smog")
        try:
            onsets[name] = float(hours) * HOUR if at else 0.0
        except ValueError as error:
            raise BadConfig(f"--event {text}: {hours!r} is no number of hours") from error
    return Weather(**onsets)


def _start(text: str | None) -> int:
    if text is None:
        return time.time_ns() // 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadConfig(f"--start {text}: not an ISO 8601 time such as 2026-10-05T06:00:00Z") from error
    if moment.tzinfo is None:
        raise BadConfig(f"--start {text}: no offset from UTC (add Z or +07:00)")
    return microseconds(moment)


def _targets(
    tcp: Sequence[str] | None = None,
    listen: Sequence[str] | None = None,
    udp: Sequence[str] | None = None,
    mqtt: str | None = None,
    protocol: Protocol = "5",
    out: Path | None = None,
    *,
    sentences_only: bool = False,
) -> list[Target]:
    """What was asked for; standard output if nothing was."""
    targets: list[Target] = [TcpConnect(*_address(text, "--tcp")) for text in tcp or ()]
    targets += [TcpListen(*_address(text, "--listen")) for text in listen or ()]
    targets += [UdpSend(*_address(text, "--udp")) for text in udp or ()]
    if mqtt is not None:
        targets.append(MqttTarget(mqtt, protocol=protocol))
    if out is not None or not targets:
        path = None if out is None or str(out) == "-" else out
        as_log = sentences_only and (path is None or path.suffix != ".jsonl")
        targets.append(NmeaLog(path) if as_log else Recording(path))
    return targets


def _until_signalled(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run; SIGINT and SIGTERM set the event given to the work."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    with runner() as loop:
        loop.run(main())


def _simulate(
    events: Iterable[Event],
    targets: Sequence[Target],
    *,
    start: int,
    seconds: float | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Open the targets, send until the end or a signal, close, and sum up."""
    paced = any(target.paced for target in targets) or seconds is None

    async def work(stop: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            file = stack.enter_context(TruthFile(truth)) if truth is not None else None
            for target in targets:
                await stack.enter_async_context(target)
            sending = asyncio.create_task(
                drive(events, targets, start=start, seconds=seconds, truth=file, paced=paced), name="simulation"
            )
            stopped = asyncio.create_task(stop.wait(), name="stop")
            await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not sending.done():
                sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        _sum_up(targets, file, as_json=as_json)

    _until_signalled(work)
    if any(target.refused for target in targets if isinstance(target, MqttTarget)):
        raise typer.Exit(FAILED)


def _sum_up(targets: Sequence[Target], truth: TruthFile | None, *, as_json: bool) -> None:
    """Standard error for a person, because standard output may be the wire; JSON, asked for, is the last line of
    standard output.
    """
    counts = [{"target": type(target).__name__, **target.summary()} for target in targets]
    if as_json:
        json_line({"targets": counts, "truth": truth.lines if truth else None})
        return
    for count in counts:
        said = ", ".join(f"{key} {value}" for key, value in count.items() if key != "target")
        sys.stderr.write(f"{count['target']}: {said}\n")
    if truth is not None:
        sys.stderr.write(f"ground truth: {truth.lines} lines\n")


@app.command("fleet")
@refusals
def fleet(
    seed: Seed = 1,
    seconds: For = None,
    start: Start = None,
    speed: Speed = 1.0,
    vessels: Vessels = 12,
    zones: Zones = None,
    first_entry: FirstEntry = None,
    tcp: Tcp = None,
    listen: Listen = None,
    udp: Udp = None,
    mqtt: Mqtt = None,
    mqtt_version: MqttProtocol = MqttVersion.V5,
    out: Out = None,
    truth: TruthPath = None,
    as_json: Json = False,
) -> None:
    """A fishing fleet off Thuận An as AIS sentences: leaves port, fishes, comes home; some boats enter zones.

    Without a target, sentences go to standard output.
    """
    began = _start(start)
    config = FleetConfig(
        seed=seed,
        start=began,
        seconds=seconds,
        vessels=vessels,
        speed=speed,
        zones=_areas(zones),
        first_entry=first_entry,
    )
    targets = _targets(tcp, listen, udp, mqtt, mqtt_version.value, out, sentences_only=True)
    _simulate(fleet_events(config), targets, start=began, seconds=seconds, truth=truth, as_json=as_json)


@app.command("sensors")
@refusals
def sensors(
    seed: Seed = 1,
    seconds: For = None,
    start: Start = None,
    speed: Speed = 1.0,
    gateways: Gateways = 3,
    interval: Interval = 60.0,
    events: Events = None,
    dropouts: Dropouts = 0.0,
    duplicates: Duplicates = 0.0,
    mqtt: Mqtt = None,
    mqtt_version: MqttProtocol = MqttVersion.V5,
    out: Out = None,
    truth: TruthPath = None,
    as_json: Json = False,
) -> None:
    """A sensor network as MQTT gateways: river gauges, air, rain, wind, lagoon water.

    Without a target, an MQTT recording goes to standard output.
    """
    began = _start(start)
    config = SensorConfig(
        seed=seed,
        start=began,
        seconds=seconds,
        speed=speed,
        gateways=gateways,
        interval_s=interval,
        weather=_weather(events),
        dropouts_per_day=dropouts,
        duplicates=duplicates,
    )
    targets = _targets(mqtt=mqtt, protocol=mqtt_version.value, out=out)
    _simulate(sensor_events(config), targets, start=began, seconds=seconds, truth=truth, as_json=as_json)


@app.command("scenario")
@refusals
def scenario(
    seed: Seed = 1,
    seconds: For = None,
    start: Start = None,
    speed: Speed = 1.0,
    vessels: Vessels = 12,
    zones: Zones = None,
    first_entry: FirstEntry = None,
    gateways: Gateways = 3,
    interval: Interval = 60.0,
    events: Events = None,
    dropouts: Dropouts = 0.0,
    duplicates: Duplicates = 0.0,
    demo: Annotated[
        bool, typer.Option("--demo", help="The demonstration's minute: boats at their knots, a day of weather in 90 s.")
    ] = False,
    tcp: Tcp = None,
    listen: Listen = None,
    udp: Udp = None,
    mqtt: Mqtt = None,
    mqtt_version: MqttProtocol = MqttVersion.V5,
    out: Out = None,
    truth: TruthPath = None,
    as_json: Json = False,
) -> None:
    """Fleet and sensors on one clock. In files, MQTT recordings, sentences stand as their receiver publishes them."""
    began = _start(start)
    areas = _areas(zones)
    if demo:
        config = demonstration(seed=seed, start=began, seconds=seconds, zones=areas, vessels=vessels)
    else:
        config = ScenarioConfig(
            FleetConfig(
                seed=seed,
                start=began,
                seconds=seconds,
                vessels=vessels,
                speed=speed,
                zones=areas,
                first_entry=first_entry,
            ),
            SensorConfig(
                seed=seed,
                start=began,
                seconds=seconds,
                speed=speed,
                gateways=gateways,
                interval_s=interval,
                weather=_weather(events),
                dropouts_per_day=dropouts,
                duplicates=duplicates,
            ),
        )
    targets = _targets(tcp, listen, udp, mqtt, mqtt_version.value, out)
    _simulate(scenario_events(config), targets, start=began, seconds=seconds, truth=truth, as_json=as_json)


@app.command("load")
@refusals
def load(
    wire: Annotated[Wire, typer.Argument(help="mqtt: readings; ais: positions.")],
    rate: Annotated[float | None, typer.Option("--rate", help="Messages a second in all; default: flat out.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Messages in all.")] = None,
    seconds: For = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="mqtt: devices that send.")] = 100,
    clients: Annotated[int, typer.Option("--clients", min=1, help="mqtt: connections.")] = 4,
    metrics: Annotated[int, typer.Option("--metrics", min=1, help="mqtt: readings in a message.")] = 1,
    gateway: Annotated[str, typer.Option("--gateway", help="mqtt: start of the gateways' names.")] = "load-gw",
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same values and places.")] = 1,
    start: Start = None,
    vessels: Annotated[int, typer.Option("--vessels", min=1, help="ais: vessels that report.")] = 500,
    mqtt: Mqtt = None,
    mqtt_version: MqttProtocol = MqttVersion.V5,
    tcp: Annotated[str | None, typer.Option("--tcp", metavar="HOST:PORT", help="ais: connect and send.")] = None,
    listen: Annotated[str | None, typer.Option("--listen", metavar="HOST:PORT", help="ais: wait for a client.")] = None,
    udp: Annotated[str | None, typer.Option("--udp", metavar="HOST:PORT", help="ais: send as datagrams.")] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="What was sent and acknowledged, as JSON lines.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Send as much as asked, or as the other end takes, and say what was sent and acknowledged.

    With neither --count nor --for: ten seconds.
    """
    if count is not None and seconds is not None:
        raise BadConfig("--count or --for, not both")
    if count is None and seconds is None:
        seconds = 10.0
    if wire is Wire.MQTT and (mqtt is None or tcp or listen or udp):
        raise BadConfig("load mqtt needs --mqtt URL, and none of --tcp, --listen, --udp")
    if wire is Wire.AIS and (mqtt is not None or sum(t is not None for t in (tcp, listen, udp)) != 1):
        raise BadConfig("load ais needs one of --tcp, --listen, --udp")
    outcome: list[MqttLoad | AisLoad] = []

    async def work(stop: asyncio.Event) -> None:
        if mqtt is not None:
            outcome.append(
                await load_mqtt(
                    Broker.parse(mqtt, mqtt_version.value),
                    devices=devices,
                    clients=clients,
                    rate=rate,
                    count=count,
                    seconds=seconds,
                    metrics=metrics,
                    first_ms=None if start is None else _start(start) // 1000,
                    gateway=gateway,
                    seed=seed,
                    progress=_progress,
                    stop=stop,
                )
            )
            return
        target = _sentence_target(tcp, listen, udp)
        async with target:
            outcome.append(
                await load_ais(
                    target,
                    vessels=vessels,
                    rate=rate,
                    count=count,
                    seconds=seconds,
                    seed=seed,
                    progress=_progress,
                    stop=stop,
                )
            )

    with contextlib.ExitStack() as stack:
        books = None if truth is None else stack.enter_context(TruthFile(truth))
        _until_signalled(work)
        result = outcome[0]
        if books is not None:
            _write_load(books, result)
    summary = result.summary()
    if as_json:
        json_line(summary)
    else:
        print(", ".join(f"{key} {value}" for key, value in summary.items()))
    if isinstance(result, MqttLoad) and result.acknowledged < result.sent:
        raise typer.Exit(FAILED)


def _sentence_target(tcp: str | None, listen: str | None, udp: str | None) -> SentenceTarget:
    if tcp is not None:
        return TcpConnect(*_address(tcp, "--tcp"))
    if listen is not None:
        return TcpListen(*_address(listen, "--listen"))
    assert udp is not None
    return UdpSend(*_address(udp, "--udp"))


def _write_load(books: TruthFile, result: MqttLoad | AisLoad) -> None:
    records = [d.record() for d in result.devices] if isinstance(result, MqttLoad) else [result.summary()]
    for record in records:
        books.write(Truth(0, record))


def _progress(sent: int) -> None:
    sys.stderr.write(f"sent {sent}\n")
