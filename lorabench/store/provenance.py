"""Where something made just now comes from: code, packages, machine, time and memory."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lorabench.records import Provenance
from lorabench.store.energy import EnergyMeter

RECORDED_PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "timm", "open_clip_torch"),
    *("catboost", "shap", "vendi-score"),
)


def provenance_of(device: str, started: datetime, seconds: float, inputs: Sequence[str] = ()) -> Provenance:
    """The provenance of what this process has just made on that device."""
    commit, dirty = _git_state()
    return Provenance(
        version=importlib.metadata.version("lorabench"),
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        packages=_package_versions(),
        device=device,
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        process_memory_bytes=_process_memory(),
        device_memory_bytes=_device_memory(device),
        inputs=tuple(inputs),
        device_name=_device_name(device),
        device_energy_joules=_meters[device].joules() if device in _meters else None,
    )


_meters: dict[str, EnergyMeter] = {}  # of the devices that a task of this process has begun on


def begin_task(device: str) -> None:
    """From here on the device's memory and energy are counted anew. (A process's own peak cannot be: there is one.)

    Energy goes to the artifacts of a task as they are written, to each what was taken since the one before: features
    that are taken while pictures are drawn count with the pictures.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        _meters[device] = EnergyMeter(device)


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return ""
    import torch

    return torch.cuda.get_device_name(device)


def _device_memory(device: str) -> int | None:
    """The allocator's peak since the task began; None where the device keeps no count."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(device)


def _process_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB, macOS in bytes


@functools.cache
def _git_state() -> tuple[str, bool]:
    """Commit of the checkout that lorabench runs from and whether it is dirty; ("", False) outside one."""
    here = Path(__file__).parents[1]
    try:
        ask = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, check=True, timeout=10)
        if Path(ask(["git", "rev-parse", "--show-toplevel"]).stdout.strip()) != here.parent:
            return "", False  # installed into somebody else's repository
        commit = ask(["git", "rev-parse", "HEAD"]).stdout.strip()
        return commit, bool(ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return "", False


@functools.cache
def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
