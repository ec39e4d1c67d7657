"""Fleets, sensors, scenarios and load, on the real wire, with their ground truth."""
