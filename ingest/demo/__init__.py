"""``haidang demo``: everything on this machine, to be looked at."""
