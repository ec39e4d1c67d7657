"""The names taken in from outside: gateways, devices, metrics, and which device has which metric. Bounded.

A name is kept only once something under it is stored, so names that bring nothing but refused payloads take no room.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from decoders.bounds import Bounds
from decoders.catalogue import METRICS
from decoders.identity import device_id, metric_id
from decoders.records import Name, Reason
from decoders.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from decoders.topics import Route

#: The source name of a gateway as the receiver of AIS: one MQTT connection brings what many hear.
RECEIVER: Final = "gateway/"


class Device:
    """A device by its full name, and the metrics it has: bit ``code`` of ``metrics`` is set for each."""

    __slots__ = ("id", "metrics", "name")

    def __init__(self, gateway: str, device: str) -> None:
        self.name = f"{gateway}/{device}"
        self.id = device_id(gateway, device)
        self.metrics = 0


class Register:
    """What is known, and whether there is room for more.

    Args:
        bounds: ``gateways``, ``devices``, ``devices_per_gateway``, ``metrics``, ``metrics_per_device`` and ``series``
            are heeded.
        names: those that the database has, by (kind, id), as ``records.Name`` tells them.
        series: (device id, metric id) of what the database has.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        names: Mapping[tuple[str, int], str] | None = None,
        series: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._bounds = bounds or Bounds()
        self._gateways: set[str] = set()
        self._devices: dict[str, Device] = {}
        self._by_gateway: Counter[str] = Counter()
        self._series = 0  # of known devices
        self._codes: dict[str, int] = {}
        #: The metric behind each code.
        self.metrics: list[Name] = []
        for metric in METRICS:
            self._add_metric(metric)
        for (kind, _), name in (names or {}).items():
            gateway, _, device = name.partition("/")
            if kind == "metric" and name not in self._codes:
                self._add_metric(name)
            elif kind == "source" and name.startswith(RECEIVER):
                self._gateways.add(name.removeprefix(RECEIVER))
            elif kind in ("device", "transponder"):
                self.keep(Device(gateway, device))
        by_id = {device.id: device for device in self._devices.values()}
        bits = {metric.id: 1 << code for code, metric in enumerate(self.metrics)}
        for device_of, metric_of in series:
            if device_of in by_id:
                by_id[device_of].metrics |= bits.get(metric_of, 0)
        self._series = sum(device.metrics.bit_count() for device in self._devices.values())

    def gateway(self, name: str) -> Refused | None:
        """Take in a gateway as a receiver of AIS, or say why not."""
        if name not in self._gateways:
            if len(self._gateways) >= self._bounds.gateways:
                return Refused(Reason.TOO_MANY_GATEWAYS, f"more than {self._bounds.gateways} gateways")
            self._gateways.add(name)
        return None

    def device(self, where: Route) -> Device | Refused:
        """The device of a topic: known, or new and not yet kept; or why there is no room for it."""
        known = self._devices.get(where.name)
        if known is not None:
            return known
        if len(self._devices) >= self._bounds.devices:
            return Refused(Reason.TOO_MANY_DEVICES, f"more than {self._bounds.devices} devices")
        if self._by_gateway[where.gateway] >= self._bounds.devices_per_gateway:
            return Refused(
                Reason.TOO_MANY_DEVICES, f"more than {self._bounds.devices_per_gateway} devices of this gateway"
            )
        return Device(where.gateway, where.device)

    def keep(self, device: Device) -> None:
        """Something of this device is stored: it is known from now on."""
        if device.name not in self._devices:
            self._devices[device.name] = device
            self._by_gateway[device.name.partition("/")[0]] += 1
            self._series += device.metrics.bit_count()

    def metric(self, device: Device, name: str) -> int | Refused:
        """The code of a metric of a device, which it has from now on; or why there is no room for it."""
        code = self._codes.get(name)
        if code is not None and device.metrics >> code & 1:
            return code
        if code is None and len(self.metrics) >= self._bounds.metrics:
            return Refused(Reason.TOO_MANY_METRICS, f"more than {self._bounds.metrics} metrics")
        if device.metrics.bit_count() >= self._bounds.metrics_per_device:
            return Refused(
                Reason.TOO_MANY_METRICS, f"more than {self._bounds.metrics_per_device} metrics of this device"
            )
        known = self._devices.get(device.name) is device
        if self._series + (0 if known else device.metrics.bit_count()) >= self._bounds.series:
            return Refused(Reason.TOO_MANY_METRICS, f"more than {self._bounds.series} metrics of devices")
        if code is None:
            code = self._add_metric(name)
        device.metrics |= 1 << code
        self._series += known
        return code

    def _add_metric(self, name: str) -> int:
        code = self._codes[name] = len(self.metrics)
        self.metrics.append(Name("metric", metric_id(name), name))
        return code
