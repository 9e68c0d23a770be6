"""lorabench: the benchmark suite for adapters that customise text-to-image models."""


def __getattr__(name: str) -> str:
    if name == "__version__":  # looked up when somebody asks: the entry point has signals to answer first
        from importlib.metadata import version

        return version("lorabench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
