"""Metrics: one file each, named after the metric; a file whose name starts with "_" is none."""
