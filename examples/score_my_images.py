"""Score a folder of generated images against a folder of real ones: lorabench as a library, without a study.

    python examples/score_my_images.py generated/ real/ --weights /models/dinov2_vitl14.safetensors

Prints fidelity (mean cosine and squared centroid distance to the real images) and diversity (Vendi score), and beside
the fidelity its ceiling: what the real images score among themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lorabench import components, images
from lorabench.components import MetricInputs
from lorabench.stages.encode import encode_images

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generated", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--encoder", default="dinov2")
    parser.add_argument("--weights", type=Path, help="file or folder; default: the published weights")
    arguments = parser.parse_args()
    for name, value in score(arguments.generated, arguments.real, arguments.encoder, arguments.weights).items():
        print(f"{name:<28} {value:.4f}")


def score(generated: Path, real: Path, encoder_name: str, weights: Path | None) -> dict[str, float]:
    """Metric -> value of one folder of images against another."""
    encoder = components.find("encoders", encoder_name).load(weights, torch.device("cpu"))
    ours, theirs = (features_of(encoder, folder) for folder in (generated, real))
    values = {}
    for name in ("image_similarity", "squared_centroid_distance", "vendi"):
        values[name] = measured(name, ours, theirs)
    half = len(theirs) // 2
    if half:
        values["image_similarity (ceiling)"] = measured("image_similarity", theirs[:half], theirs[half:])
    return values


def features_of(encoder: components.Encoder, folder: Path) -> np.ndarray:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return encode_images(encoder, [images.read(file) for file in files], encoder.resize_modes[0], batch_size=16)


def measured(name: str, generated: np.ndarray, real: np.ndarray) -> float:
    """A metric's value for one set of images that all answer the same prompt."""
    same_prompt = np.zeros(len(generated), dtype=int)
    inputs = MetricInputs(generated=generated, prompt_index=same_prompt, prompt_type="trigger", dataset=real)
    return components.find("metrics", name).compute(inputs).value


if __name__ == "__main__":
    main()
