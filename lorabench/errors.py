"""Errors that are the user's to mend, and the sentence for a name that does not exist."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """A mistake of the user's: one clear sentence, exit code 2, never a traceback."""


class CutShort(Exception):
    """A run cannot go on, so it ends; what is finished stays: one clear sentence, exit code 1."""


class DiskFull(CutShort):
    """The disk is full: nothing more can be kept."""


class LeaseLost(CutShort):
    """Another run may be at work in the same folder by now."""


class ClusterLost(CutShort):
    """The cluster that did the work is gone."""


class DamagedArtifact(Exception):
    """What lies in a folder of a run is not what was written: it counts as missing, and can be made again."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(folder, reason)  # both travel between processes
        self.folder, self.reason = folder, reason


def unknown(what: str, name: str, available: Sequence[str], where: str = "") -> str:
    """The sentence for a name that does not exist: the nearest one, all of them, and where it was asked for."""
    near = difflib.get_close_matches(name, available, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    place = f" ({where})" if where else ""
    return f"Unknown {what} '{name}'.{hint} Available: {', '.join(available)}.{place}"
