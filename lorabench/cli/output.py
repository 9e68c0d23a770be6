"""Results on stdout: a table or a record for people, JSON for machines."""

from __future__ import annotations

import json
import sys

WIDEST = 100_000  # columns of a table: more than any has


def show_one(record: dict[str, object], as_json: bool) -> None:
    """One record on stdout: a line a field, or JSON."""
    if as_json:
        print(json.dumps(record, indent=1, default=str))
        return
    for name, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        print(f"{name + ':':<16} {'' if value is None else on_screen(value)}")


def on_screen(value: object) -> str:
    """Its words; characters that would steer a terminal, or that it cannot show, are spelled out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in str(value)
    )


def show(rows: list[dict[str, object]], as_json: bool) -> None:
    """A table on stdout, or the same as JSON."""
    if as_json:
        print(json.dumps(rows, indent=1, default=str))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # not text alone, in which "[/b]" of somebody's file name is markup

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(Text(on_screen(name)))
    for row in rows:
        table.add_row(*(Text("" if value is None else on_screen(value)) for value in row.values()))
    console = Console(highlight=False)
    needed = Console(width=WIDEST).measure(table).maximum
    if sys.stdout.isatty() and needed > console.width:  # a table folded into it would break names and numbers
        for row in rows:
            show_one(row, as_json=False)
            print()
    else:
        Console(width=needed, highlight=False).print(table)
