"""The weights that a study needs: which are here, which the hub has, and which somebody has to bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import logging

from lorabench import base_files, components, config
from lorabench.base_names import parse_base
from lorabench.components import EncoderSpec
from lorabench.config import Study
from lorabench.errors import UserError
from lorabench.pipeline.measuring import metric_requests

UNREACHED = "The hub could not be reached."
State = Literal["here", "fetched", "missing", "none"]


@dataclass(frozen=True)
class Weights:
    """What one model of a study is read from."""

    model: str  # "base model" or "encoder dinov2"
    source: str  # repository of the hub or path
    state: State  # "none": there is nothing to fetch
    bytes: int | None  # None where it is not here
    detail: str  # where it lies, or how to get it


def fetch(path: Path, dry_run: bool) -> tuple[Weights, ...]:
    """Bring what is missing, unless this is a dry run or HF_HUB_OFFLINE is set; what there is then. UserError.

    A hub that cannot be reached is asked once: its library tries for half a minute.
    """
    study = config.load_study(path)
    for plugin in study.plugins:
        components.load_plugin(Path(plugin))
    names = dict.fromkeys(request.encoder for request in metric_requests(study))
    brings = not dry_run and not constants.HF_HUB_OFFLINE
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would tell of every try
    try:
        settings = [way.setting for way in config.ways(study)]
        wanted: list[Callable[[bool], Weights]] = [
            *(partial(_base, source) for source in dict.fromkeys(each.base or study.base for each in settings)),
            *(
                partial(_vae, source)
                for source in dict.fromkeys((study.vae, *(each.vae for each in settings)))
                if source
            ),
            *(partial(_encoder, study, name) for name in names),
        ]
        found: list[Weights] = []
        for look in wanted:
            reached = not any(each.detail.startswith(UNREACHED) for each in found)
            found.append(look(brings and reached))
    finally:
        logging.set_verbosity(verbosity)
    return tuple(found)


def cached(repository: str, files: Sequence[str]) -> Path | None:
    """The first of these files of a repository that is in the hub's cache."""
    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(file) for file in found if isinstance(file, str)), None)


def how_to_get(encoder: str, repository: str, file: str) -> str:
    """The published weights of an encoder, or others, in words."""
    return f"`hf download {repository} {file}`, or [encoders.{encoder}] weights = a file"


# --- the base model ---------------------------------------------------------------------------------------------------


def _base(source: str, brings: bool) -> Weights:
    def look() -> Weights:
        files = base_files.find_base(source)
        size = sum(file.stat().st_size for file in files.files)
        return Weights("base model", config.portable(source), "here", size, str(files.path))

    return _of_hub("base model", source, look, partial(base_files.download_base, source), brings)


def _vae(source: str, brings: bool) -> Weights:
    def look() -> Weights:
        file = base_files.find_vae(source).weights
        return Weights("VAE", config.portable(source), "here", file.stat().st_size, str(file))

    return _of_hub("VAE", source, look, partial(base_files.download_vae, source), brings)


def _of_hub(
    model: str, source: str, look: Callable[[], Weights], download: Callable[[], None], brings: bool
) -> Weights:
    try:
        return look()
    except UserError as error:
        missing = Weights(model, config.portable(source), "missing", None, str(error))
    is_folder = Path(parse_base(source).place).expanduser().is_dir()
    return _brought(missing, download, look) if brings and not is_folder else missing


# --- an encoder -------------------------------------------------------------------------------------------------------


def _encoder(study: Study, name: str, brings: bool) -> Weights:
    spec: EncoderSpec = components.find("encoders", name)
    choice, model = study.encoders.get(name), f"encoder {name}"
    if choice and choice.weights:
        return _own(model, Path(choice.weights), f"[encoders.{name}] weights")
    if not spec.published:
        if spec.needs_weights:
            lacks = f"none are published that could be fetched: set [encoders.{name}] weights ({spec.description})"
            return Weights(model, "", "missing", None, " ".join(lacks.split()))
        what = "no weights of the hub; if it has any, its own library brings them when it is first used"
        return Weights(model, "", "none", None, what)
    repository, *files = spec.published

    def look() -> Weights:
        found = cached(repository, files)
        if found is None:
            raise UserError(f"Not in the hub's cache: {how_to_get(name, repository, files[0])}.")
        return Weights(model, repository, "here", found.stat().st_size, str(found))

    def download() -> None:
        for place, file in enumerate(files, 1):
            try:
                hf_hub_download(repository, file)
                return
            except LocalEntryNotFoundError:
                raise  # no connection
            except EntryNotFoundError:
                if place == len(files):
                    raise

    try:
        return look()
    except UserError as error:
        missing = Weights(model, repository, "missing", None, str(error))
    return _brought(missing, download, look) if brings else missing


def _own(model: str, path: Path, key: str) -> Weights:
    if not path.exists():
        return Weights(model, str(path), "missing", None, f"{path} does not exist ({key}).")
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return Weights(model, config.portable(str(path)), "here", sum(file.stat().st_size for file in files), str(path))


def _brought(missing: Weights, download: Callable[[], None], look: Callable[[], Weights]) -> Weights:
    """What is here after a download, or what was missing with why it did not come."""
    try:
        download()
    except UserError:  # of a file that is here, which `look` has said
        return missing
    except Exception as error:  # the hub's library lets through what its HTTP library raises, which depends on versions
        return replace(missing, detail=f"{_reason(error)} {missing.detail}")
    try:
        found = look()
    except UserError as error:
        return replace(missing, detail=str(error))
    return replace(found, state="fetched")


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalEntryNotFoundError):
        return UNREACHED
    if status in (401, 403):
        return "The hub does not give it to you: it is not there, or asks for a login (`hf auth login`)."
    words = str(error).strip().splitlines()
    return f"It could not be downloaded ({words[0] if words else type(error).__name__})."
