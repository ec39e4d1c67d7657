"""Rules on vessels and zones: a part of the engine."""
