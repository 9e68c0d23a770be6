"""Base models as files: which folder or file a name stands for, whether it is whole, and the id of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from lorabench.errors import UserError
from lorabench.foreign import clean_folder, known, read_json, tokenizer_files
from lorabench.values import given

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
# What a folder needs beside its weights.
SETTINGS = ("model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt")
PIPELINE = "StableDiffusionPipeline"
# What libraries import to load a base model: these, and nothing that a folder names.
_INDEX = {
    "_class_name": PIPELINE,
    **{"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]},
    **{"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]},
    "scheduler": ["diffusers", "DDIMScheduler"],
    **{name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")},
    "requires_safety_checker": False,
}
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
CONFIG_SOURCE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# In a single file: keys of the text vectors, [channels, width of a text vector].
_CROSS_ATTENTION = re.compile(r"model\.diffusion_model\..*\.attn2\.to_k\.weight")
_FAMILIES = {768: "sd1", 1024: "sd2"}


def locate_base(source: str) -> Path:
    """The diffusers folder or .safetensors file that `source` (a path or a hub id) stands for, checked to be whole.

    Nothing is downloaded: a hub id must be in the local cache. UserError says what is missing and how to get it.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _checked_folder(path)
    if path.is_file():
        return _checked_file(path)
    if _looks_like_path(source):
        raise UserError(f"Base model '{source}' does not exist; set base to a diffusers folder or a .safetensors file.")
    return _checked_folder(_cached_snapshot(source))


def base_id(source: str) -> str:
    """A name for the content of a base model, e.g. "sd1-0123456789ab": equal wherever the files lie.

    Family by the width of the text vectors (sd1, sd2, else "custom"), then SHA-256 over weights, configs and tokenizer.
    """
    path = locate_base(source)
    if path.is_file():
        return f"{_family(_width_in_file(path))}-{_sha256(path)[:12]}"
    names = [f"{name}/{file}" for name, file in WEIGHTS.items()]
    names += [f"{name}/config.json" for name in WEIGHTS]
    names += [name for name in SETTINGS if name != "model_index.json"]  # its version fields change no picture
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name} {_sha256(path / name)}\n".encode())
    unet = read_json(path / "unet/config.json").root
    return f"{_family(unet.get('cross_attention_dim'))}-{digest.hexdigest()[:12]}"


@contextmanager
def clean_base(path: Path, keys: Mapping[str, Collection[str]]) -> Iterator[Path]:
    """Inside, a diffusers folder of those of its files that are known here, and of its configs those keys.

    Of a single file, its config folder. UserError for a config that cannot be read.
    """
    folder = settings_folder(path)
    scheduler = "scheduler/scheduler_config.json"
    files: dict[str, Path | Mapping[str, Any]] = {
        "model_index.json": _INDEX,
        scheduler: known(folder / scheduler, keys["scheduler"]),
    }
    for name, content in tokenizer_files(folder / "tokenizer").items():
        files[f"tokenizer/{name}"] = content
    for name, weights in WEIGHTS.items():
        files[f"{name}/config.json"] = known(folder / name / "config.json", keys[name])
        if path.is_dir():
            files[f"{name}/{weights}"] = folder / name / weights
    with clean_folder(files) as clean:
        yield clean


def settings_folder(path: Path) -> Path:
    """The folder with a located base's configs and tokenizer: itself, or that of a single file."""
    return path if path.is_dir() else config_folder(path)


def config_folder(file: Path) -> Path:
    """The diffusers folder that says how to read a single file: the one named like it, else SD1.5's in the cache."""
    beside = file.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    try:
        return Path(snapshot_download(CONFIG_SOURCE, local_files_only=True))
    except LocalEntryNotFoundError:
        raise UserError(
            f"Base model {file} needs its configs and tokenizer: put them into the folder {beside}, laid out "
            f'as diffusers does, or run `hf download {CONFIG_SOURCE} --include "*.json" "*.txt"` once with network.'
        ) from None


def _looks_like_path(source: str) -> bool:
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith((".", "~"))
    return not is_hub_id or source.endswith((".safetensors", *PICKLES))


def _cached_snapshot(hub_id: str) -> Path:
    includes = " ".join(f'"{name}/{file}"' for name, file in WEIGHTS.items())
    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise UserError(
            f"Base model '{hub_id}' is neither a path nor in the local cache of the hub; download it with "
            f'`hf download {hub_id} --include "*.json" "*.txt" {includes}`, or set base to a diffusers folder.'
        ) from None


def _checked_folder(folder: Path) -> Path:
    if not (folder / "model_index.json").is_file():
        raise UserError(f"Base model {folder} has no model_index.json, so it is not a diffusers folder.")
    kind = read_json(folder / "model_index.json").root.get("_class_name")
    if kind != PIPELINE:
        raise UserError(f"Base model {folder} is a {given(kind)}; lorabench reads {PIPELINE} (SD1.x and SD2.x).")
    for name, weights in WEIGHTS.items():
        if not (folder / name / weights).is_file():
            raise UserError(_missing(folder, name, weights))
        _check_safetensors(folder / name / weights)
        read_json(folder / name / "config.json")
    for name in SETTINGS:
        if not (folder / name).is_file():
            raise UserError(f"Base model {folder} lacks {name}; download or export it again.")
    return folder


def _missing(folder: Path, name: str, weights: str) -> str:
    pickles = [file.name for file in (folder / name).glob("*") if file.suffix in PICKLES]
    if pickles:
        return (
            f"Base model {folder} holds {name}/{pickles[0]}, a pickle, which can run code when it is read; "
            f"load it once with diffusers and save it with `save_pretrained(..., safe_serialization=True)`."
        )
    return f"Base model {folder} lacks {name}/{weights}; download or export it again."


def _checked_file(file: Path) -> Path:
    if file.suffix in PICKLES:
        raise UserError(
            f"Base model {file} is a pickle, which can run code when it is read; convert it to .safetensors first."
        )
    if file.suffix != ".safetensors":
        raise UserError(f"Base model {file} is neither a diffusers folder nor a .safetensors file.")
    _check_safetensors(file)
    if _width_in_file(file) is None:
        raise UserError(f"Base model {file} holds no Stable Diffusion U-Net; is it an adapter or another model's file?")
    return file


def _check_safetensors(file: Path) -> None:
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is corrupt or truncated ({error}); download or export it again.") from error


def _width_in_file(file: Path) -> int | None:
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if _CROSS_ATTENTION.fullmatch(name)]
        return tensors.get_slice(names[0]).get_shape()[-1] if names else None


def _family(width: object) -> str:
    return _FAMILIES.get(width, "custom") if isinstance(width, int) else "custom"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
