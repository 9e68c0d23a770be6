"""lorabench: the benchmark suite for adapters that customise text-to-image models."""
