"""How good the alerts are: labelled scenarios, end to end, and the precision and recall of each kind of rule."""
