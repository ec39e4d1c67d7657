"""Rules over what other rules have found."""
