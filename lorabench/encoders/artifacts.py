"""Image quality as the artifact scorer of LyCORIS H.2 sees it: by how few artifacts it finds."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from lorabench import components
from lorabench.encoders._pictures import PictureEncoder, Preprocessing
from lorabench.encoders.clip import FOLDER_CONFIG, FOLDER_WEIGHTS, networks_of
from lorabench.errors import UserError
from lorabench.hashes import sha256_of

RESIZE_MODES = ("letterbox", "center_crop", "stretch")
HUB_ID = "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"  # whose pooled features the scorer was trained on
HEAD = "aesthetics_scorer_artifacts_openclip_vit_l_14.pth"  # of github.com/kenjiqq/aesthetics-scorer
LARGEST = 5.0  # what the scorer gives to a picture full of artifacts
_MEAN = (0.5, 0.5, 0.5)
# What a file that is none raises, whoever reads it.
_FAULTS = (OSError, pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, EOFError, AttributeError)
_LAYERS = (0, 2, 4, 6, 7)  # of the file; between them are dropouts, which do nothing here


@components.encoder(resize_modes=RESIZE_MODES, needs_weights=True)
def artifacts(weights: Path | None, device: torch.device) -> PictureEncoder:
    """5 less the artifact score of a picture at 224 pixels, trained on ratings of the AI Horde (LyCORIS H.2).

    Weights are a folder of two things: CLIP ViT-L/14 of LAION-2B as open_clip has it, and the scorer's own file.
    """
    if weights is None or not Path(weights).is_dir():
        raise UserError(
            f"Encoder 'artifacts' needs a folder of weights ([encoders.artifacts] weights): {FOLDER_CONFIG} and "
            f"{FOLDER_WEIGHTS} of {HUB_ID}, and {HEAD} of github.com/kenjiqq/aesthetics-scorer."
        )
    folder = Path(weights)
    tower = networks_of("artifacts", folder)[0].visual
    tower.proj = None  # the scorer reads what comes before the projection
    head = _head(folder / HEAD)
    width = getattr(getattr(tower, "ln_post", None), "normalized_shape", [0])[0]
    if head[0].in_features != width:
        raise UserError(
            f"Encoder 'artifacts': {folder / HEAD} scores {head[0].in_features} features of a picture; the network "
            f"beside it is no vision transformer that gives so many ({HUB_ID} is)."
        )
    tower.to(device)
    head.to(device)

    def quality(batch: torch.Tensor) -> torch.Tensor:
        return LARGEST - head(nn.functional.normalize(tower(batch), dim=-1))

    size = tower.image_size[0] if isinstance(tower.image_size, tuple) else tower.image_size
    architecture = f"clip{size}px-{sha256_of(folder / FOLDER_WEIGHTS)[:12]}"
    sha256 = sha256_of(folder / HEAD)
    preprocessing = Preprocessing(size, _MEAN, _MEAN)
    return PictureEncoder("artifacts", architecture, sha256, quality, preprocessing, device, RESIZE_MODES)


def _head(file: Path) -> nn.Sequential:
    """The scorer: linear layers one after another, the last to one number. UserError for a file that is none."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        pairs = [(state[f"layers.{place}.weight"], state[f"layers.{place}.bias"]) for place in _LAYERS]
        head = nn.Sequential(*(nn.Linear(weight.shape[1], weight.shape[0]) for weight, _ in pairs))
        for layer, (weight, bias) in zip(head, pairs):
            layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        if head[-1].out_features != 1 or any(a.out_features != b.in_features for a, b in zip(head, head[1:])):
            raise ValueError("its layers do not follow one another to one number")
    except FileNotFoundError:
        raise UserError(
            f"Encoder 'artifacts': {file} does not exist; it is of github.com/kenjiqq/aesthetics-scorer."
        ) from None
    except _FAULTS as error:
        raise UserError(
            f"Encoder 'artifacts': {file} is no artifact scorer ({' '.join(str(error).split())})."
        ) from error
    return head.requires_grad_(False).eval()
