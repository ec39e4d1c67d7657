"""MQTT at QoS 1: the broker is told only after the commit."""

from ingest.sources.mqtt.options import MqttOptions, Tls
from ingest.sources.mqtt.source import MqttSource

__all__ = ["MqttOptions", "MqttSource", "Tls"]
