"""Where deliveries come from: MQTT, NMEA over TCP and UDP, recorded files."""
