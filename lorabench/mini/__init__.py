"""The miniature world: a renderer, tiny models with their weights, and the recipe that made them.

Importing this package is cheap: it only locates files. Renderer and training live in its modules.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

ENCODERS = ("dinov2", "convnextv2", "clip", "vgg19", "judge")


def weights_path() -> Path:
    """The folder that holds every shipped model."""
    return _HERE / "weights"


def base_path() -> Path:
    """The diffusers folder of the base model."""
    return weights_path() / "base"


def encoder_path(name: str) -> Path:
    """The folder of one encoder; ValueError on a name that is not in `ENCODERS`."""
    if name not in ENCODERS:
        raise ValueError(f"Unknown mini encoder '{name}'. Available: {', '.join(ENCODERS)}.")
    return weights_path() / name


def prompts_path() -> Path:
    """The folder of prompt templates whose words the mini base model knows."""
    return _HERE / "prompts"


def evaluation_study() -> Path:
    """The study file whose settings `lorabench evaluate` takes for adapters of the mini base model."""
    return _HERE / "evaluate.toml"


def write_dataset(folder: Path) -> Path:
    """Write the data set of novel concepts (images, captions, dataset.toml) into `folder` and return it."""
    from lorabench.mini.dataset import write_dataset as write

    return write(Path(folder))
