"""Measurements of this package's own speed, as ratios of runs that take turns in one process."""
