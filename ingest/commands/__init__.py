"""One module per command of ``haidang``."""
