"""Sources, inbox, pipeline, settings, telemetry, and the command line that puts the parts together."""
