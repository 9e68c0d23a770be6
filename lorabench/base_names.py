"""How people write a base model: a path or a hub id, "@revision" of the latter, and ":variant" of the files of both."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?P<place>.+?)(?:@(?P<revision>[\w.-]+))?(?::(?P<variant>\w[\w-]*))?", re.DOTALL)


@dataclass(frozen=True)
class BaseName:
    """The parts of such a text; "" = not said."""

    place: str  # path or hub id
    revision: str = ""  # of the hub's repository
    variant: str = ""  # unet/diffusion_pytorch_model.<variant>.safetensors


def parse_base(text: str) -> BaseName:
    """A path that is there is a place as it is, whatever it looks like."""
    found = _WRITTEN.fullmatch(text)
    if found is None or os.path.exists(os.path.expanduser(text)):
        return BaseName(text)
    return BaseName(found["place"], found["revision"] or "", found["variant"] or "")
