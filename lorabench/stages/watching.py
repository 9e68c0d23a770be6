"""What can be seen of a training while it runs, and after: losses, rates, gradients, how far weights have moved."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch

from lorabench import adapters
from lorabench.adapters import Adapter
from lorabench.components import Words
from lorabench.errors import UserError
from lorabench.layers import Components

# What of a base model moves, by where its name says that a module lies.
_PARTS = (
    ("text encoder", r"text_encoder"),
    ("cross-attention", r"\.attn2\."),
    ("self-attention", r"\.attn1\."),
    ("feed-forward", r"\.ff\.|\.proj_(in|out)$"),
)
OTHERS, WORDS = "convolutions and others", "words"
PARTS = (*(name for name, _ in _PARTS), OTHERS, WORDS)


@dataclass(frozen=True)
class Seen:
    """One step: numbers on their way from the device."""

    loss: torch.Tensor
    grad_norm: torch.Tensor  # of all trained numbers together, before it is clipped
    rate: float  # learning rate of the U-Net's layers; of Prodigy what it has found, times the schedule


@dataclass(frozen=True)
class Trace:
    """Steps in a row, a number each; and at some of them the norm of the update of each part of the base model."""

    losses: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    grad_norms: tuple[float, ...] = ()
    norms: tuple[tuple[int, str, float], ...] = ()  # step, part, Frobenius norm of dW (of words: of what they moved)

    def last(self, count: int) -> Trace:
        """The last so many steps, and the norms at them, the last of which is at the last step."""
        end = self.norms[-1][0] if self.norms else 0
        rows = tuple(row for row in self.norms if row[0] > end - count)
        return Trace(self.losses[-count:], self.rates[-count:], self.grad_norms[-count:], rows)


# (step, total steps, loss, learning rate, norm of the gradient), once a step, one step late.
OnStep = Callable[[int, int, float, float, float], None]


class TrainingDiverged(RuntimeError):
    """The loss or the weights stopped being finite; the message names config, seed and step."""


class Log:
    """Gathers a trace, a step late: waiting for a step that was just launched would leave a GPU idle."""

    def __init__(self, name: str, total: int, on_step: OnStep | None, before: Trace) -> None:
        self._name, self._total, self._on_step = name, total, on_step
        self._pending: tuple[int, Seen] | None = None
        self._rows: dict[str, list] = {each.name: list(getattr(before, each.name)) for each in fields(Trace)}

    def add(self, step: int, seen: Seen) -> None:
        self._read()
        self._pending = (step, seen)

    def add_norms(self, step: int, norms: Mapping[str, float]) -> None:
        self._rows["norms"] += [(step, part, norm) for part, norm in norms.items()]

    def so_far(self) -> Trace:
        """All steps since they were taken last."""
        self._read()
        return Trace(**{name: tuple(rows) for name, rows in self._rows.items()})

    def take(self) -> Trace:
        """The same, and from here on those that follow."""
        trace = self.so_far()
        self._rows = {name: [] for name in self._rows}
        return trace

    def require_finite(self, adapter: Adapter, step: int) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in adapters.parameters(adapter)):
            raise TrainingDiverged(f"{self._name}: the weights are not finite after step {step}; lower its lr.")

    def _read(self) -> None:
        if self._pending is None:
            return
        step, seen = self._pending
        loss, grad_norm, self._pending = seen.loss.item(), float(seen.grad_norm), None
        if not np.isfinite(loss):
            raise TrainingDiverged(
                f"{self._name}: the loss is {loss} at step {step + 1} of {self._total}; lower its lr."
            )
        for name, value in (("losses", loss), ("rates", seen.rate), ("grad_norms", grad_norm)):
            self._rows[name].append(value)
        if self._on_step is not None:
            self._on_step(step + 1, self._total, loss, seen.rate, grad_norm)


def require_events() -> None:
    """UserError where the package of TensorBoard's event files is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise UserError("run.tensorboard needs a package: pip install 'lorabench[tensorboard]'.") from None


@torch.no_grad()
def update_norms(components: Components, adapter: Adapter, begin: Words) -> dict[str, float]:
    """Of each part that is trained the Frobenius norm of its update, weights and biases together.

    `begin` are the vectors that words began as.
    """
    squares: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(()))
    for name in adapter.modules:
        for _, _, update in adapters.updates(components, adapter, name):
            squares[part_of(name)] = squares[part_of(name)] + update.float().square().sum().cpu()
    for word, of in adapter.words.items():
        for encoder, vectors in of.items():
            squares[WORDS] = squares[WORDS] + (vectors - begin[word][encoder].to(vectors)).square().sum().cpu()
    return {part: squares[part].sqrt().item() for part in PARTS if part in squares}


def part_of(name: str) -> str:
    """The part of the base model that a module lies in."""
    return next((part for part, pattern in _PARTS if re.search(pattern, name)), OTHERS)
