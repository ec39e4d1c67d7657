"""What vessels do: detectors, one file each, behind one part of the engine (``alerting.vessels.part``)."""
