"""The weights of a study, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lorabench.api.fetching import Weights
from lorabench.cli.output import on_screen, print_json, show
from lorabench.report.words import count, size

_STATES = {"none": "nothing to fetch"}


def say(found: Sequence[Weights], as_json: bool) -> None:
    """A row a model, then how to get what is missing; or all of it as JSON."""
    if as_json:
        print_json(list(found))
        return
    rows: list[dict[str, object]] = [
        {
            "model": each.model,
            "weights": _STATES.get(each.state, each.state),
            "size": "" if each.bytes is None else size(each.bytes),
            "from": each.source,
        }
        for each in found
    ]
    show(rows, as_json)
    for each in found:
        if each.state in ("missing", "none"):
            print(on_screen(f"{each.model}: {each.detail}"))
    missing = sum(each.state == "missing" for each in found)
    print(f"{count(missing, 'model')} of {len(found)} lacking." if missing else "All of them are here.")
