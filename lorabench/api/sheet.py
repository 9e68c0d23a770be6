"""`evaluate --sheet`: what somebody says of their adapter files in a CSV file, checked into records at the door."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorabench.api.file_names import LARGEST, Moment
from lorabench.errors import UserError
from lorabench.statistics.columns import RESERVED
from lorabench.values import LARGEST_RATIO, given

FILE, CONFIG, SCALE = "file", "config", "scale"
_MOMENT = ("seed", "epoch", "step")
COLUMNS = (FILE, CONFIG, *_MOMENT, SCALE)
RATE = "lr"  # a factor that tables have, and of which files without metadata say nothing
NOT_OF_ADAPTERS = ("base", "dataset")  # the configs of the base model and of real images in tables
_SEPARATORS = ",;\t"  # spreadsheets of some countries write the others
_WHOLE = re.compile(r"\d{1,19}(?:\.0*)?")  # spreadsheets write 2.0 where a column has gaps
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST = 200  # characters of a name or a factor


@dataclass(frozen=True)
class Row:
    """What a line says of a file; what it does not say is None or ""."""

    line: int
    file: str
    config: str = ""
    moment: Moment = Moment()
    scale: float | None = None
    own: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """A CSV file, read and checked."""

    path: Path
    rows: tuple[Row, ...]
    own: tuple[str, ...]  # the columns that are somebody's own factors

    def place(self, *rows: Row) -> str:
        lines = [str(row.line) for row in rows]
        return f"{self.path}, line {lines[0]}" if len(rows) == 1 else f"{self.path}, lines {' and '.join(lines)}"


NO_SHEET = Sheet(Path(), (), ())


def read_sheet(path: Path | None) -> Sheet:
    """The file as records. UserError, naming the line, for a file that is no such table and for a bad number."""
    if path is None:
        return NO_SHEET
    (head_line, head), *lines = list(_lines(path)) or [(1, [])]
    for line, values in lines:
        if len(values) < len(head) or any(values[len(head) :]):
            raise UserError(f"{path}, line {line}: it has {len(values)} cells, and the line of names has {len(head)}.")
    columns = _columns(head, f"{path}, line {head_line}", lines)
    own = tuple(name for name in columns if name and name not in COLUMNS)
    cells = [(line, dict(zip(columns, values))) for line, values in lines]
    numeric = {name for name in own if all(_NUMBER.fullmatch(row[name]) for _, row in cells if row[name])} | {RATE}
    rows = tuple(_row(f"{path}, line {line}", line, row, own, numeric) for line, row in cells)
    if not rows:
        raise UserError(f"{path} says nothing of any file: write a line for each under the line of column names.")
    sheet = Sheet(path, rows, own)
    _refuse_twice(sheet)
    return sheet


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of each line that is not empty, and its cells without the blanks around them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV (UTF-8).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror} (--sheet).") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: it is no line of a CSV file ({error}).") from error


def _columns(head: Sequence[str], place: str, lines: Sequence[tuple[int, list[str]]]) -> list[str]:
    """The names of the columns, ours in small letters; "" of one in which nothing stands. UserError for others."""
    names = [name.lower() if name.lower() in (*COLUMNS, RATE) else name for name in head]
    for position, name in enumerate(names):
        if not name and any(row[position] for _, row in lines):
            raise UserError(f"{place}: column {position + 1} has no name.")
        if name and name in names[:position]:
            raise UserError(f"{place}: two columns are called '{name}'.")
        if name not in (*COLUMNS, RATE) and name.lower() in RESERVED:
            raise UserError(
                f"{place}: '{name}' is a column that tables have already; give a factor of your own another name."
            )
        if len(name) > _LONGEST or not name.isprintable():
            raise UserError(f"{place}: {given(name)} is no name of a column.")
    if FILE not in names:
        raise UserError(f"{place}: no column is called '{FILE}', and it says which adapter a line is of.")
    return names


def _row(place: str, line: int, cells: Mapping[str, str], own: Sequence[str], numeric: set[str]) -> Row:
    if not cells[FILE]:
        raise UserError(f"{place}: it names no file.")
    config = cells.get(CONFIG, "")
    if config in NOT_OF_ADAPTERS:
        raise UserError(f"{place}: config '{config}' is what tables call something else; give it another name.")
    for name in (CONFIG, *own):
        if len(cells.get(name, "")) > _LONGEST or not cells.get(name, "").isprintable():
            raise UserError(f"{place}: {name} is {given(cells[name])}; let it be a name of a line.")
    numbers = {name: _whole(cells.get(name, ""), f"{place}: {name}") for name in _MOMENT}
    factors = {name: _number(cells[name], f"{place}: {name}") if name in numeric else cells[name] for name in own}
    known = {name: value for name, value in factors.items() if value not in (None, "")}
    if known.get(RATE, 1.0) <= 0:
        raise UserError(f"{place}: {RATE} must be above 0, got {given(cells[RATE])}.")
    return Row(line, cells[FILE], config, Moment(**numbers), _ratio(cells.get(SCALE, ""), f"{place}: {SCALE}"), known)


def _whole(text: str, what: str) -> int | None:
    if not text:
        return None
    if not _WHOLE.fullmatch(text) or int(text.partition(".")[0]) >= LARGEST:
        raise UserError(f"{what} must be a whole number, 0 or more, got {given(text)}.")
    return int(text.partition(".")[0])


def _ratio(text: str, what: str) -> float | None:
    value = _number(text, what)
    if value is not None and abs(value) > LARGEST_RATIO:
        raise UserError(f"{what} is a merge ratio, at most {LARGEST_RATIO:g}, got {given(text)}.")
    return value


def _number(text: str, what: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise UserError(f"{what} must be a number, got {given(text)}.")
    return float(text)


def _refuse_twice(sheet: Sheet) -> None:
    """UserError for two lines of one file, but for other merge ratios of it."""
    seen: dict[tuple[str, float | None], Row] = {}
    for row in sheet.rows:
        twin = seen.setdefault((row.file, row.scale), row)
        if twin is not row:
            raise UserError(f"{sheet.place(twin, row)}: both are of file '{row.file}'; keep one.")


def of_files(sheet: Sheet, names: Mapping[str, Path]) -> dict[Path, list[Row]]:
    """The rows of each adapter by its path; `names` are all that a row may call it, the usual one of each first.

    UserError for a file that is none of them, and where lines say different things of one file.
    """
    found: dict[Path, list[Row]] = {}
    for row in sheet.rows:
        path = names.get(row.file.removeprefix("./").rstrip("/"))
        if path is None:
            near = difflib.get_close_matches(row.file, names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else " Names are paths in that folder."
            raise UserError(f"{sheet.place(row)}: there is no adapter '{row.file}' in the folder.{hint}")
        for other in found.setdefault(path, []):
            if (1.0 if other.scale is None else other.scale) == (1.0 if row.scale is None else row.scale):
                raise UserError(f"{sheet.place(other, row)}: both are of file '{row.file}'; keep one.")
            if (other.config, other.moment) != (row.config, row.moment):
                raise UserError(
                    f"{sheet.place(other, row)}: both are of file '{row.file}', which has one config, seed, epoch and "
                    "step, whatever the merge ratio."
                )
        found[path].append(row)
    return found
