"""Reading and writing safetensors files, with a sentence for everything that can be wrong with one."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lorabench import store
from lorabench.base_files import PICKLES
from lorabench.errors import UserError
from lorabench.formats._unusable import Header

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def keys(path: Path) -> frozenset[str]:
    """Names of the file's tensors, from its header alone. UserError if it cannot be read."""
    with _opened(path) as file:
        return frozenset(file.keys())


def header(path: Path, unused: Sequence[str] = ()) -> Header:
    """Names and shapes of the file's tensors but for those in `unused`, and its metadata. UserError as of `keys`."""
    with _opened(path) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if not _matches(key, unused)}
        return Header(shapes, file.metadata() or {})


def read(path: Path, unused: Sequence[str] = ()) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors on the CPU, float32 but for integers, and the metadata.

    Keys that match a glob pattern in `unused` are left out. UserError for a damaged file, NaN or infinity.
    """
    try:
        with _opened(path) as file:
            metadata = file.metadata() or {}
            wanted = [key for key in file.keys() if not _matches(key, unused)]
            tensors = {key: _as_float32(file.get_tensor(key)) for key in wanted}
    except SafetensorError as error:
        raise _damaged(path, error) from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{path}: '{key}' holds NaN or infinity; its training diverged, so take an earlier checkpoint."
            )
    return tensors, metadata


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype) -> None:
    """Write the tensors in that dtype (scalars stay float32, integers as they are), whole or not at all.

    UserError if a number is too large for the dtype, OSError if the file cannot be written.
    """
    stored = {}
    for key, tensor in tensors.items():
        value = tensor.detach().to("cpu", _stored_dtype(tensor, dtype), copy=True).contiguous()
        if not torch.isfinite(value).all():
            largest = tensor.detach().abs().max().item()
            raise UserError(
                f"{path}: '{key}' goes up to {largest:g} and cannot be saved as {str(dtype).removeprefix('torch.')}; "
                "its training diverged, or it needs float32."
            )
        stored[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with store.system_errors(path):
            save_file(stored, partial, metadata=dict(metadata))
            _sort_metadata(partial)
            store.let_read(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _sort_metadata(path: Path) -> None:
    """Order the metadata, which the library writes in an order of chance: equal adapters then are equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header |= {name: dict(sorted(header[name].items())) for name in ("__metadata__",) if name in header}
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) <= length:
            file.seek(8)
            file.write(ordered.ljust(length))


def file_size(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype) -> int:
    """Bytes of the file that `write` would make, tensors on the meta device included.

    Eight bytes for the header's length, the header as JSON padded to a multiple of eight, then the tensors: by falling
    width of their numbers, then by name (safetensors' format).
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    stored = {key: _stored_dtype(tensor, dtype) for key, tensor in tensors.items()}
    for key in sorted(tensors, key=lambda key: (-stored[key].itemsize, key)):
        start, end = end, end + tensors[key].numel() * stored[key].itemsize
        place = {"dtype": _DTYPES[stored[key]], "shape": list(tensors[key].shape), "data_offsets": [start, end]}
        header[key] = place
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + len(text) + -len(text) % 8 + end


def refuse_pickle(path: Path) -> None:
    """UserError, with the reason and the way to convert, if the file is a pickle by its name or its first bytes."""
    if path.suffix.lower() in PICKLES or _begins_like_a_pickle(path):
        raise UserError(
            f"{path} is a pickle, which can run any code when it is opened, so lorabench does not; convert it where "
            "that is safe: safetensors.torch.save_file(torch.load(file, weights_only=True), 'adapter.safetensors')."
        )


def _begins_like_a_pickle(path: Path) -> bool:
    """A zip archive, as torch.save writes, or a bare pickle of protocol 2 or later."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file whose header has 640 bytes begins with \x80\x02 too, and then its ninth byte is "{".
    bare = start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[8:] != b"{"
    return bare or start.startswith(b"PK\x03\x04")


def instead(path: Path) -> str | None:
    """What a file is that is text where numbers should be, and what to do; None of any other."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(1024)
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
    if b"\0" in start or not start.strip():
        return None
    try:
        text = start.decode(errors="strict" if len(start) < 1024 else "ignore").lstrip().lower()
    except UnicodeDecodeError:
        return None
    if text.startswith(("<!doctype html", "<html")):
        return "a web page, so its download was refused; sign in where it comes from and download it again"
    return "text, not an adapter"


def _stored_dtype(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    return torch.float32 if tensor.ndim == 0 else dtype


def _opened(path: Path) -> safe_open:
    try:
        str(path).encode()
        return safe_open(path, framework="pt", device="cpu")
    except UnicodeEncodeError as error:
        raise UserError(f"{path} has a name that is not UTF-8, which safetensors cannot open; rename it.") from error
    except FileNotFoundError as error:
        raise UserError(f"Checkpoint {path} does not exist.") from error
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _damaged(path: Path, error: Exception) -> UserError:
    other = instead(path)
    if other is not None:
        return UserError(f"{path} is {other}.")
    return UserError(f"{path} is not a whole safetensors file ({error}); copy or download it again.")
