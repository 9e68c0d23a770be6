"""Tables and arrays as files."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lorabench.errors import UserError
from lorabench.store.files import let_read, replace_file


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A parquet file, whole or not at all."""
    replace_file(path, lambda scratch: table.to_parquet(scratch, engine="pyarrow", index=False))


def write_parts(parts: Iterable[pd.DataFrame], path: Path) -> int:
    """A parquet file of parts with the same columns, one of them in memory at a time; returns its rows.

    A column of objects is text, or bytes where its name is "thumbnail": a part may have none, which says no kind.
    """
    rows = 0

    def write(scratch: Path) -> None:
        nonlocal rows
        with contextlib.ExitStack() as open_file:
            writer = None
            for part in parts:
                if writer is None:
                    writer = open_file.enter_context(pq.ParquetWriter(scratch, _schema_of(part)))
                writer.write_table(pa.Table.from_pandas(part, schema=writer.schema, preserve_index=False))
                rows += len(part)

    replace_file(path, write)
    return rows


def _schema_of(part: pd.DataFrame) -> pa.Schema:
    inferred = pa.Schema.from_pandas(part, preserve_index=False)
    for place, name in enumerate(inferred.names):
        if pd.api.types.is_object_dtype(part[name]) or pd.api.types.is_string_dtype(part[name]):
            kind = pa.binary() if name == "thumbnail" else pa.string()
            inferred = inferred.set(place, pa.field(name, kind))
    return inferred


def write_records(records: Sequence[Any], path: Path) -> None:
    """Records (dataclasses) of one type as the rows of a parquet file, inside an artifact that is being written."""
    pd.DataFrame([asdict(record) for record in records]).to_parquet(path, engine="pyarrow", index=False)


def read_table(
    path: Path, with_value: str = "", columns: Sequence[str] | None = None, like: Sequence[Mapping[str, str]] = ()
) -> pd.DataFrame:
    """A parquet file: of its rows those that have a value in one column, or all; all columns, or some.

    `like`: of its rows those that say what one of these does of its columns; "" stands for a missing text too. Of a
    file without such columns of texts, which is none of ours, all rows. UserError if it is missing or broken.
    """
    try:
        chosen = [ds.field(with_value).is_valid()] if with_value else []
        if like and all(_is_text(pq.read_schema(path), name) for each in like for name in each):
            chosen.append(functools.reduce(operator.or_, map(_alike, like)))
        filters = functools.reduce(operator.and_, chosen) if chosen else None
        table = pd.read_parquet(path, engine="pyarrow", filters=filters, columns=columns)
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.name} in {path.parent}; is this the folder of a finished run?") from error
    except MemoryError:
        raise
    except Exception as error:  # of pyarrow and pandas: a broken file may be broken in any way
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"{path} is not a readable parquet file: {said}. Whatever wrote it has to write it again: of a run, "
            "`lorabench grid` with this folder as --out."
        ) from error
    pa.default_memory_pool().release_unused()  # else it keeps what the largest table so far needed
    return table


def _is_text(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type if name in schema.names else None
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return kind in (pa.string(), pa.large_string(), pa.null())


def _alike(texts: Mapping[str, str]) -> ds.Expression:
    said = [(ds.field(name) == text) | (ds.field(name).is_null() & (text == "")) for name, text in texts.items()]
    return functools.reduce(operator.and_, said)


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
