"""The answer first, in words for a terminal: which epoch and merge ratio of each config to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lorabench.cli.cells import doubt, wrapped
from lorabench.report.answers import Answer, Choice
from lorabench.report.words import criterion_words, listed

_SHOWN = 8  # configs of a criterion


def answers(found: Sequence[Answer]) -> Iterator[str]:
    """A block a criterion, a line or two a config."""
    yield from wrapped("Which to take, of these files on these images (paired by prompt and noise; raw values):")
    for answer in found:
        yield from wrapped(_heading(answer), "  ")
        yield from doubt({"fails_audit": answer.fails_audit})
        for choice in answer.choices[:_SHOWN]:
            yield from wrapped(f"  {_line(choice)}", "  ")
        more = len(answer.choices) - _SHOWN
        yield from [f"  and {more} more (on the page)"] if more > 0 else []
    yield ""


def _heading(answer: Answer) -> str:
    column = answer.column
    parts = [f"{criterion_words(column.info.criterion)}: {column.label}", column.direction]
    parts += [f"base model {answer.floor}"] if answer.floor else []
    parts += [f"training pictures {answer.ceiling}"] if answer.ceiling else []
    return "; ".join(parts)


def _line(choice: Choice) -> str:
    value = f"{choice.value}, {choice.between} of the way" if choice.between else choice.value
    value += f", base model {choice.floor}" if choice.floor else ""
    lead = f"best {choice.best} ({value})" if choice.best else value
    others = {"tied": choice.tied, "worse": choice.worse, "cannot be told from": choice.untold}
    parts = [lead, *(f"{words}: {listed(names)}" for words, names in others.items() if names)]
    parts += [f"{choice.copies} of its images copy a training picture"] if choice.copies else []
    return f"{choice.config}: {'; '.join(parts)}"
