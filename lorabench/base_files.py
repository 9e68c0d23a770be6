"""Base models as files: which folder or file a name stands for, whether it is whole, and the id of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from lorabench.base_names import BaseName, parse_base
from lorabench.bases import KINDS, SD, UNET, Kind
from lorabench.errors import UserError
from lorabench.hashes import sha256_of
from lorabench.untrusted import clean_folder, known, read_json, tokenizer_files
from lorabench.values import given

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# In a single file: keys of the text vectors, [channels, width of a text vector].
_CROSS_ATTENTION = re.compile(r"model\.diffusion_model\..*\.attn2\.to_k\.weight")
_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"
_VAE_WEIGHTS = SD.weights["vae"]


@dataclass(frozen=True)
class BaseFiles:
    """A base model that is here and whole."""

    path: Path  # a diffusers folder or a single file
    kind: Kind
    settings: Path  # the folder with its configs and tokenizers: itself, or that of a single file
    weights: Mapping[str, Path] = field(default_factory=dict)  # of a folder: part of the model -> its file
    revision: str = ""  # of the hub's repository: the commit

    @cached_property
    def id(self) -> str:
        """A name for its content, e.g. "sd1-0123456789ab": equal wherever the files lie.

        Family by the width of the text vectors (sd1, sd2, sdxl, else "custom"), then SHA-256 over weights, configs and
        tokenizers. A variant has the id of a folder that holds its files under their usual names.
        """
        if not self.weights:
            return f"{_family(_width_in_file(self.path))}-{sha256_of(self.path)[:12]}"
        usual = self.kind.weights
        files = {f"{name}/{usual[name]}": file for name, file in self.weights.items()}
        files |= {f"{name}/config.json": self.path / name / "config.json" for name in usual}
        # Of the index its options count: the version of what wrote it changes nothing.
        files |= {name: self.path / name for name in self.kind.settings if name != _INDEX}
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name} {sha256_of(files[name])}\n".encode())
        for name, value in self.options.items():
            digest.update(f"{name} {value}\n".encode())
        unet = read_json(self.path / "unet/config.json").root
        return f"{_family(unet.get('cross_attention_dim'))}-{digest.hexdigest()[:12]}"

    @cached_property
    def options(self) -> dict[str, bool]:
        """What its index says that changes pictures. UserError for an index that cannot be read."""
        said = known(self.settings / _INDEX, self.kind.options)
        wrong = next((name for name, value in said.items() if not isinstance(value, bool)), None)
        if wrong is not None:
            raise UserError(f"{self.settings / _INDEX}: '{wrong}' must be true or false, got {given(said[wrong])}.")
        return {**self.kind.options, **said}

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that hold weights."""
        return tuple(self.weights.values()) or (self.path,)

    def facts(self) -> dict[str, Any]:
        """What results say of it: the commit of the hub's repository, and SHA-256 of each file of weights."""
        names = {file: str(file.relative_to(self.path)) if self.weights else file.name for file in self.files}
        return {"revision": self.revision, "sha256": {name: sha256_of(file) for file, name in names.items()}}


def find_base(source: str) -> BaseFiles:
    """The files that `source` stands for: a path or a hub id, "@revision" of the latter, ":variant" of both.

    A variant, "non_ema" say, is unet/diffusion_pytorch_model.non_ema.safetensors; parts of the model without such a
    file are taken as they are. Nothing is downloaded: a hub id must be in the local cache. UserError says what is
    missing and how to get it.
    """
    name = parse_base(source)
    path = Path(name.place).expanduser()
    if path.exists() and name.revision:
        raise UserError(f"Base model {path} is no repository of the hub: leave out '@{name.revision}'.")
    if path.is_dir():
        return _checked_folder(path, name.variant)
    if path.is_file():
        if name.variant:
            raise UserError(f"Base model {path} is a single file, which has no variants: leave out ':{name.variant}'.")
        return _checked_file(path)
    if _looks_like_path(name.place):
        raise UserError(f"Base model '{source}' does not exist; set base to a diffusers folder or a .safetensors file.")
    folder = _cached_snapshot(name)
    return replace(_checked_folder(folder, name.variant, _how_to_get(name)), revision=folder.name)


@dataclass(frozen=True)
class VaeFiles:
    """An autoencoder that takes the place of a base model's own."""

    weights: Path
    config: Path | None  # None: a single file, which the base model's own config describes

    @cached_property
    def id(self) -> str:
        """A name for its content, e.g. "vae-0123456789ab"."""
        both = "".join(sha256_of(file) for file in (self.weights, self.config) if file)
        return f"vae-{hashlib.sha256(both.encode()).hexdigest()[:12]}"

    @cached_property
    def latent_channels(self) -> int:
        """Of the latents that it decodes. UserError for a file that holds no autoencoder."""
        with safe_open(self.weights, framework="pt") as tensors:
            names = [name for name in tensors.keys() if re.fullmatch(r"(.*\.)?decoder\.conv_in\.weight", name)]
            if len(names) != 1:
                raise UserError(f"VAE {self.weights} holds no autoencoder; is it another model's file?")
            return tensors.get_slice(names[0]).get_shape()[1]


def find_vae(source: str) -> VaeFiles:
    """The autoencoder that `source` stands for: a .safetensors file, a diffusers folder or the hub id of such.

    Of a whole base model its own. Nothing is downloaded. UserError.
    """
    name = parse_base(source)
    path = Path(name.place).expanduser()
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(f"VAE {path} is no .safetensors file; convert it first.")
        _check_safetensors(path)
        return VaeFiles(path, None)
    if not path.is_dir():
        if _looks_like_path(name.place):
            raise UserError(f"VAE '{source}' does not exist; set vae to a diffusers folder or a .safetensors file.")
        path = _cached_snapshot(name, "VAE", "vae", f"download it with {_command(name, _vae_files(name))}")
    folder = path / "vae" if (path / "vae").is_dir() else path
    weights, config_ = folder / _variant_of(_VAE_WEIGHTS, name.variant), folder / "config.json"
    for file in (weights, config_):
        if not file.is_file():
            raise UserError(f"VAE {path} has no {file.name}: it is no diffusers folder of an autoencoder.")
    _check_safetensors(weights)
    read_json(config_)
    return VaeFiles(weights, config_)


@contextmanager
def clean_base(base: BaseFiles, keys: Mapping[str, Collection[str]]) -> Iterator[Path]:
    """Inside, a diffusers folder of those of its files that are known here, and of its configs those keys.

    Weights have their usual names, whatever the variant. Of a single file, its config folder. UserError for a config
    that cannot be read.
    """
    folder, kind = base.settings, base.kind
    files: dict[str, Path | Mapping[str, Any]] = {
        _INDEX: kind.full_index(base.options),
        _SCHEDULER: known(folder / _SCHEDULER, keys["scheduler"]),
    }
    for tokenizer in map(kind.tokenizer_of, kind.text_encoders):
        for name, content in tokenizer_files(folder / tokenizer).items():
            files[f"{tokenizer}/{name}"] = content
    for name in kind.weights:
        files[f"{name}/config.json"] = known(folder / name / "config.json", keys[name])
    files |= {f"{name}/{kind.weights[name]}": file for name, file in base.weights.items()}
    with clean_folder(files) as clean:
        yield clean


def config_folder(file: Path, kind: Kind) -> Path:
    """The diffusers folder that says how to read a single file: the one named like it, else its kind's in the cache."""
    beside = file.with_suffix("")
    if (beside / _INDEX).is_file():
        return beside
    try:
        return Path(snapshot_download(kind.config_source, local_files_only=True))
    except LocalEntryNotFoundError:
        raise UserError(
            f"Base model {file} needs its configs and tokenizer: put them into the folder {beside}, laid out "
            f"as diffusers does, or run {_command(parse_base(kind.config_source), _CONFIGS)} once with network."
        ) from None


def _looks_like_path(source: str) -> bool:
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith((".", "~"))
    return not is_hub_id or source.endswith((".safetensors", *PICKLES))


def _cached_snapshot(name: BaseName, what: str = "Base model", key: str = "base", how: str = "") -> Path:
    try:
        return Path(snapshot_download(name.place, revision=name.revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        revision = f" (revision {name.revision})" if name.revision else ""
        raise UserError(
            f"{what} '{name.place}'{revision} is neither a path nor in the local cache of the hub; "
            f"{how or _how_to_get(name)}, or set {key} to a diffusers folder."
        ) from None


def download_base(source: str) -> None:
    """Bring what `find_base` looks for, of the hub's repository that a base names; of a file here, its configs.

    Errors are the hub's own.
    """
    name = parse_base(source)
    file = Path(name.place).expanduser()
    if file.is_file():
        snapshot_download(_kind_of_file(file).config_source, allow_patterns=list(_CONFIGS))
    elif not _looks_like_path(name.place):
        snapshot_download(name.place, revision=name.revision or None, allow_patterns=_files_of(name))


def download_vae(source: str) -> None:
    """Bring what `find_vae` looks for, of the hub's repository that a VAE names. Errors are the hub's own."""
    name = parse_base(source)
    if not _looks_like_path(name.place):
        snapshot_download(name.place, revision=name.revision or None, allow_patterns=_vae_files(name))


def _vae_files(name: BaseName) -> list[str]:
    weights = _variant_of(_VAE_WEIGHTS, name.variant)
    return [f"{folder}{file}" for folder in ("", "vae/") for file in ("config.json", weights)]


_CONFIGS = ("*.json", "*.txt")


def _files_of(name: BaseName) -> list[str]:
    """Patterns of the files of a repository that `find_base` looks for, of whichever kind it is."""
    # Parts other than the U-Net may lack the variant: a pattern that matches nothing downloads nothing.
    parts = {part: file for kind in KINDS for part, file in kind.weights.items()}
    files = [f"{part}/{_variant_of(file, name.variant)}" for part, file in parts.items()]
    return [*_CONFIGS, *files, *(f"{part}/{file}" for part, file in parts.items() if name.variant and part != UNET)]


def _how_to_get(name: BaseName) -> str:
    """The command that downloads what `find_base` looks for."""
    return f"download it with {_command(name, _files_of(name))}"


def _command(name: BaseName, files: Sequence[str]) -> str:
    # The hub's command takes one pattern for each --include, and what follows for names of files.
    includes = " ".join(f'--include "{file}"' for file in files)
    revision = f" --revision {name.revision}" if name.revision else ""
    return f"`hf download {name.place}{revision} {includes}`"


def _variant_of(file: str, variant: str) -> str:
    stem, _, suffix = file.rpartition(".")
    return f"{stem}.{variant}.{suffix}" if variant else file


def _checked_folder(folder: Path, variant: str, how_to_get: str = "download or export it again") -> BaseFiles:
    """A folder with the files of its weights. UserError for what is missing or broken in it."""
    if not (folder / _INDEX).is_file():
        raise UserError(f"Base model {folder} has no {_INDEX}, so it is not a diffusers folder.")
    pipeline = read_json(folder / _INDEX).root.get("_class_name")
    kind = next((kind for kind in KINDS if kind.pipeline == pipeline), None)
    if kind is None:
        raise UserError(f"Base model {folder} is a {given(pipeline)}; lorabench reads {_readable()}.")
    files = {name: folder / name / file for name, file in kind.weights.items()}
    of_variant = {name: file.with_name(_variant_of(file.name, variant)) for name, file in files.items()}
    found = {name: file for name, file in of_variant.items() if file.is_file()}
    if variant and not found:
        raise UserError(
            f"Base model {folder} has no variant '{variant}' ({UNET}/{of_variant[UNET].name}, say); {how_to_get}."
        )
    files |= found
    for name, file in files.items():
        if not file.is_file():
            raise UserError(_missing(folder, name, file.name, how_to_get))
        _check_safetensors(file)
        read_json(folder / name / "config.json")
    for name in kind.settings:
        if not (folder / name).is_file():
            raise UserError(f"Base model {folder} lacks {name}; {how_to_get}.")
    return BaseFiles(folder, kind, folder, files)


def _readable() -> str:
    return " and ".join(f"{kind.pipeline} ({kind.title})" for kind in KINDS)


def _missing(folder: Path, name: str, weights: str, how_to_get: str) -> str:
    pickles = [file.name for file in (folder / name).glob("*") if file.suffix in PICKLES]
    if pickles:
        return (
            f"Base model {folder} holds {name}/{pickles[0]}, a pickle, which can run code when it is read; "
            f"load it once with diffusers and save it with `save_pretrained(..., safe_serialization=True)`."
        )
    return f"Base model {folder} lacks {name}/{weights}; {how_to_get}."


def _checked_file(file: Path) -> BaseFiles:
    kind = _kind_of_file(file)
    return BaseFiles(file, kind, config_folder(file, kind))


def _kind_of_file(file: Path) -> Kind:
    """UserError for a file that cannot be read or holds no base model."""
    if file.suffix in PICKLES:
        raise UserError(
            f"Base model {file} is a pickle, which can run code when it is read; convert it to .safetensors first."
        )
    if file.suffix != ".safetensors":
        raise UserError(f"Base model {file} is neither a diffusers folder nor a .safetensors file.")
    _check_safetensors(file)
    if _width_in_file(file) is None:
        raise UserError(f"Base model {file} holds no Stable Diffusion U-Net; is it an adapter or another model's file?")
    with safe_open(file, framework="pt") as tensors:
        keys = list(tensors.keys())
    for kind in KINDS:
        if any(re.match(kind.in_file, key) for key in keys):
            return kind
    titles = " or ".join(kind.title for kind in KINDS)
    raise UserError(
        f"Base model {file} holds a U-Net without the text encoders that it was made with, those of {titles}; "
        "take the whole checkpoint."
    )


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
