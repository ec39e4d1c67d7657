"""Rules on what devices measure, and on their silence: parts of the engine."""
