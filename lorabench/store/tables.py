"""Tables and arrays as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorabench.errors import UserError
from lorabench.store.files import let_read, replace_file


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A parquet file, whole or not at all."""
    replace_file(path, lambda scratch: table.to_parquet(scratch, engine="pyarrow", index=False))


def write_records(records: Sequence[Any], path: Path) -> None:
    """Records (dataclasses) of one type as the rows of a parquet file, inside an artifact that is being written."""
    pd.DataFrame([asdict(record) for record in records]).to_parquet(path, engine="pyarrow", index=False)


def read_table(path: Path) -> pd.DataFrame:
    """A parquet file. UserError if it is missing or broken."""
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.name} in {path.parent}; is this the folder of a finished run?") from error
    except MemoryError:
        raise
    except Exception as error:  # of pyarrow and pandas: a broken file may be broken in any way
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a readable parquet file: {said}.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Named arrays as a safetensors file (inside an artifact that is being written)."""
    from safetensors.numpy import save_file

    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata=dict(metadata or {})
    )
    let_read(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file."""
    from safetensors.numpy import load_file

    return load_file(path)
