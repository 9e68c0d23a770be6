"""Results on stdout: tables and records that fit the terminal for people, JSON for machines."""

from __future__ import annotations

import io
import json
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100  # columns where no terminal says how many it has
_GAP = 2
_FIELD = 17  # columns of the name of a field
_NUMBER = re.compile(r"[−+±×<-]?\d")
_NARROWEST = 16  # columns that a column of words is folded to


def show_one(record: dict[str, object], as_json: bool) -> None:
    """One record on stdout: a line a field that says something, folded where it must be, or JSON."""
    if as_json:
        print_json(record)
        return
    for name, value in record.items():
        words = _words(value)
        if words:
            lines = textwrap.wrap(
                on_screen(words), max(width() - _FIELD, _NARROWEST), break_on_hyphens=False, break_long_words=False
            )
            print(f"{name.replace('_', ' ') + ':':<{_FIELD}}" + f"\n{'':<{_FIELD}}".join(lines))


def _words(value: object) -> str:
    """A value for a person: numbers to four digits, what is not known left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def show(rows: list[dict[str, object]], as_json: bool) -> None:
    """A table on stdout, or the same as JSON: keys in snake_case, empty cells null."""
    if as_json:
        print_json([{name.replace(" ", "_"): None if row[name] == "" else row[name] for name in row} for row in rows])
    else:
        print(table(rows))


def show_answer(answer: Any, as_json: bool, words: Callable[[Any], Iterable[str]]) -> None:
    """An answer of the library on stdout: in words, or as JSON."""
    if as_json:
        print_json(answer)
    else:
        print("\n".join(words(answer)))


def print_json(value: Any) -> None:
    """Records as objects, tables as lists of rows, what is missing as null."""
    print(json.dumps(plain(value), indent=1, default=str))


def plain(value: Any) -> Any:
    """Tables and records, and what they hold, as what JSON knows."""
    if hasattr(value, "to_json"):
        return json.loads(value.to_json(orient="records"))
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Its rows, what is missing as None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def on_screen(value: object) -> str:
    """Its words; characters that would steer a terminal, or that it cannot show, are spelled out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in str(value)
    )


def width() -> int:
    """Columns that a table may have: the terminal's, and 100 where there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as text that fits: numbers stand whole and to the right, words are folded where they must be.

    Columns that do not fit even so follow in a further block, which begins with the first column again.
    """
    cells = [
        {on_screen(name): "" if (value := row[name]) is None else on_screen(value) for name in row} for row in rows
    ]
    names = list(cells[0]) if cells else []
    blocks = _blocks(names, cells, width())
    return "\n\n".join(_drawn([{name: row[name] for name in block} for row in cells]) for block in blocks)


def _blocks(names: Sequence[str], cells: Sequence[Mapping[str, str]], room: int) -> list[list[str]]:
    """Names of columns that fit beside each other; words count as what they can be folded to."""
    least = {}
    for name in names:
        longest = max(len(name), *(len(row[name]) for row in cells))
        least[name] = longest if _is_number(name, cells) else min(longest, max(_NARROWEST, len(name)))
    blocks: list[list[str]] = []
    for name in names:
        if not blocks or sum(least[each] + _GAP for each in (*blocks[-1], name)) - _GAP > room:
            blocks.append([name] if not blocks or name == names[0] else [names[0], name])
        else:
            blocks[-1].append(name)
    return blocks


def _is_number(name: str, cells: Sequence[Mapping[str, str]]) -> bool:
    return all(_NUMBER.match(row[name]) for row in cells if row[name]) and any(row[name] for row in cells)


def _drawn(cells: Sequence[Mapping[str, str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # not text alone, in which "[/b]" of somebody's file name is markup

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    for name in cells[0]:
        number = _is_number(name, cells)
        drawn.add_column(Text(name), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row.values()))
    text = io.StringIO()
    Console(file=text, width=width(), highlight=False).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").splitlines())
