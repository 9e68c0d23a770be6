"""Measurements that other people published, as tables of ours."""
