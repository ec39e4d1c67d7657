"""Zones, their spatial index, and what a move from one fix to the next does to them."""
