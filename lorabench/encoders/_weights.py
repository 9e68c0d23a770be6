"""Where an encoder's weights come from, and how they get into a network: safetensors, strictly, never pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import nn

from lorabench.errors import UserError
from lorabench.untrusted import FileRecord, read_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_Channel = Annotated[float, Field(ge=-1e3, le=1e3)]


class PictureConfig(FileRecord):
    """What config.json of a weights folder says of pictures: their side in pixels, mean and deviation per channel."""

    image_size: Annotated[int, Field(ge=1, le=4096)]
    mean: tuple[_Channel, _Channel, _Channel]
    std: tuple[_Channel, _Channel, _Channel]


Config = TypeVar("Config", bound=PictureConfig)


def published_file(encoder: str, hub_id: str, filename: str = WEIGHTS) -> Path:
    """A file of a Hugging Face repository: from the local cache, else downloaded. UserError if neither is possible."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, filename, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    try:
        return Path(hf_hub_download(hub_id, filename))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(missing_weights(encoder, hub_id)) from error


def missing_weights(encoder: str, hub_id: str) -> str:
    return (
        f"Encoder '{encoder}' needs the published weights {hub_id}, which are not in the local cache and cannot be "
        f"downloaded now. Run once with network, or name a file or folder: [encoders.{encoder}] weights in a study, "
        "--weights of `lorabench diversity`."
    )


def safetensors_file(encoder: str, path: Path) -> Path:
    """The path itself. UserError if there is no such file or it is another kind of file."""
    if not path.is_file():
        raise UserError(f"Encoder '{encoder}': weights {path} do not exist ([encoders.{encoder}], weights).")
    if path.suffix != ".safetensors":
        raise UserError(
            f"Encoder '{encoder}': weights {path} are not a .safetensors file; pickles can run code and are not read. "
            f"Save the state dict with safetensors.torch.save_file."
        )
    return path


def read_config(encoder: str, folder: Path, record: type[Config]) -> Config:
    """config.json of a weights folder. UserError if a key is missing or of another type."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"Encoder '{encoder}': weights folder {folder} has no {CONFIG} (needed beside {WEIGHTS}).")
    try:
        return read_json(path, record)
    except UserError as error:
        raise UserError(f"Encoder '{encoder}': {error}") from error


def read_state(encoder: str, path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors whose name starts with `prefix`, as float32 on the CPU. UserError for a broken file."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}
    except (SafetensorError, OSError) as error:
        raise UserError(f"Encoder '{encoder}': weights {path} cannot be read ({error}).") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def load_strictly(encoder: str, network: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Put the tensors in the place of the network's, which may be on "meta". UserError unless all of them fit."""
    wanted = network.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not of this network" for name in state if name not in wanted]
    problems += [
        f"{name} is {list(state[name].shape)} instead of {list(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"Encoder '{encoder}': weights {path} do not fit: {'; '.join(problems[:3])}{more}.")
    network.load_state_dict(state, strict=True, assign=True)
    network.requires_grad_(False).eval()
