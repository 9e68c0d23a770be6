"""lorabench: the benchmark suite for adapters that customise text-to-image models."""

from importlib.metadata import version

__version__ = version("lorabench")
