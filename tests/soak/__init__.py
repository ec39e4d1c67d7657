"""``make soak``: the service for minutes under faults drawn from a seed, and what became of everything it was given."""
