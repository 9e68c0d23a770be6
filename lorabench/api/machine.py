"""`lorabench doctor`: what this machine has and lacks, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants
from packaging.requirements import Requirement

from lorabench import base_files, components, mini
from lorabench.api import fetching
from lorabench.config import Study
from lorabench.errors import UserError

PACKAGE = "lorabench"
NEEDED = (
    *("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "timm"),
    *("catboost", "shap", "vendi-score", "loky"),
)
DEVELOPMENT = "dev"  # the extra that is for the test-suite
BESIDE = {"pyiqa": "encoders liqe and maniqa"}  # packages that no extra names, and what they are for
_ROOM = 2 * 2**30

Row = dict[str, object]


def checks() -> list[Row]:
    """One row a check (check, status, detail): ok, note (works without, but) or missing."""
    return [
        *_packages(),
        _device(),
        _disk(),
        *_miniature(),
        _hub_cache(),
        _base(),
        *_encoders(),
        *_extras(),
    ]


def _packages() -> Iterator[Row]:
    yield _row("python", "ok", platform.python_version())
    yield _row(PACKAGE, "ok", importlib.metadata.version(PACKAGE))
    for name in NEEDED:
        version = _version(name)
        yield _row(name, "ok", version) if version else _row(name, "missing", "run `make install`")


def _device() -> Row:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return _row("device", "ok", f"cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return _row("device", "ok", "mps")
    words = f"CPU with {os.cpu_count()} cores: fine for the miniature world, not for SD1.5 studies"
    return _row("device", "note", words)


def _disk() -> Row:
    free = shutil.disk_usage(Path.cwd()).free
    return _row("disk", "ok" if free > _ROOM else "note", f"{free / 2**30:.0f} GiB free here")


def _miniature() -> Iterator[Row]:
    for name, path in {"base": mini.base_path(), **{each: mini.encoder_path(each) for each in mini.ENCODERS}}.items():
        if path.exists():
            yield _row(f"miniature {name}", "ok", "shipped with the package")
        else:
            words = f"{path} is not there: reinstall, or run `lorabench mini build`"
            yield _row(f"miniature {name}", "missing", words)


def _hub_cache() -> Row:
    folder = Path(constants.HF_HUB_CACHE)
    said = next((name for name in ("HF_HUB_CACHE", "HF_HOME") if os.environ.get(name)), "")
    place = f"{folder}, " + (f"by {said}" if said else "the default; HF_HOME or HF_HUB_CACHE would move it")
    offline = "; HF_HUB_OFFLINE is set: nothing is downloaded" if constants.HF_HUB_OFFLINE else ""
    if not folder.is_dir():
        return _row("hub cache", "note", f"{place}: not there yet, the first download makes it{offline}")
    return _row("hub cache", "ok", f"{place}{offline}")


def _base() -> Row:
    """The base model that studies have by default."""
    source = str(Study.model_fields["base"].default)
    try:
        return _row("SD1.5", "ok", str(base_files.find_base(source).path))
    except UserError as error:
        return _row("SD1.5", "note", str(error))


def _encoders() -> Iterator[Row]:
    """The published weights of the encoders that have any."""
    for name in components.names("encoders"):
        repository, *files = components.find("encoders", name).published or ("",)
        if not repository:
            continue
        found = fetching.cached(repository, files)
        get = f"not in the hub cache: {fetching.how_to_get(name, repository, files[0])}"
        yield _row(f"encoder {name}", "ok", str(found)) if found else _row(f"encoder {name}", "note", get)


def _extras() -> Iterator[Row]:
    """Optional packages: a row an extra of this package, and those that none names."""
    named: dict[str, list[str]] = {}
    for text in importlib.metadata.requires(PACKAGE) or ():
        requirement = Requirement(text)
        for extra in importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or ():
            if requirement.marker and requirement.marker.evaluate({"extra": extra}) and extra != DEVELOPMENT:
                named.setdefault(extra, []).append(requirement.name)
    for extra, packages in named.items():
        yield _optional(f"extra {extra}", packages, f"`pip install 'lorabench[{extra}]'`")
    for package, use in BESIDE.items():
        yield _optional(package, [package], f"`pip install {package}`, for {use}")


def _optional(check: str, packages: list[str], get: str) -> Row:
    versions = {name: _version(name) for name in packages}
    lacking = [name for name, version in versions.items() if not version]
    if lacking:
        return _row(check, "note", f"without {', '.join(lacking)}: {get}")
    return _row(check, "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _version(name: str) -> str:
    """ "" = not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _row(check: str, status: str, detail: str) -> Row:
    return {"check": check, "status": status, "detail": detail}
