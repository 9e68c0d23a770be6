"""What there is: components by kind, and what this machine has or lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import get_args

from lorabench import components, mini
from lorabench.cli.progress import open_progress
from lorabench.components import Kind
from lorabench.errors import UserError, unknown

KINDS: tuple[str, ...] = get_args(Kind)
NEEDED = (
    *("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "timm"),
    *("catboost", "shap", "vendi-score", "loky"),
)


def components_table(kind: str | None) -> list[dict[str, object]]:
    """Every component with the first sentence of its documentation. UserError for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    rows: list[dict[str, object]] = []
    for each in [kind] if kind else KINDS:
        for name in components.names(each):  # type: ignore[arg-type]
            found = components.find(each, name)  # type: ignore[arg-type]
            rows.append({"kind": each, "name": name, "what": " ".join(found.description.split("\n\n")[0].split())})
    return rows


def doctor() -> list[dict[str, object]]:
    """Checks of this machine, one row each: ok, note (works, but) or missing."""
    import torch

    rows = [_row("python", "ok", platform.python_version())]
    for name in NEEDED:
        try:
            rows.append(_row(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append(_row(name, "missing", "run `make install`"))
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        rows.append(_row("device", "ok", f"cuda: {', '.join(names)}"))
    elif torch.backends.mps.is_available():
        rows.append(_row("device", "ok", "mps"))
    else:
        cores = os.cpu_count()
        rows.append(
            _row("device", "note", f"CPU with {cores} cores: fine for the miniature world, not for SD1.5 studies")
        )
    free = shutil.disk_usage(Path.cwd()).free
    rows.append(_row("disk", "ok" if free > 2 * 2**30 else "note", f"{free / 2**30:.0f} GiB free here"))
    weights = {"base": mini.base_path(), **{name: mini.encoder_path(name) for name in mini.ENCODERS}}
    rows += [_weights_row(name, path) for name, path in weights.items()]
    return rows


def check_up(run: Path, quiet: bool) -> list[dict[str, object]]:
    """What is damaged, orphaned or another study's in the folder of a run. UserError if it is none."""
    from lorabench.pipeline import checkup

    folders = checkup.artifact_folders(run)
    with open_progress(quiet).stage("read", len(folders), len(folders)) as advance:
        return checkup.check_up(run, folders, advance)


def _weights_row(name: str, path: Path) -> dict[str, object]:
    if path.exists():
        return _row(f"miniature {name}", "ok", "shipped with the package")
    return _row(f"miniature {name}", "missing", f"{path} is not there: reinstall, or run `lorabench mini build`")


def _row(what: str, status: str, detail: str) -> dict[str, object]:
    return {"check": what, "status": status, "detail": detail}
