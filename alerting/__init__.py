"""Rules, the engine that judges observations by them, and the dispatch of what it finds."""
