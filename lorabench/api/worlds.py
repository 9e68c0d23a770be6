"""Commands about the miniature world: its training and audits of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorabench import mini, store
from lorabench.errors import UserError

# The shipped autoencoder is rounded to float16, and other processors add in another order.
REPLAY_TOLERANCE = 0.01


def build(only: list[str] | None, out: Path | None, work: Path, scale: float, device: str, seed: int) -> Path:
    """Train parts of the miniature world; UserError for what cannot be trained."""
    from lorabench.mini.build import build as train

    try:
        return train(only, out, work, scale, device, seed)
    except ValueError as error:
        raise UserError(str(error)) from error


def replay(only: list[str] | None, weights: Path | None) -> list[dict[str, Any]]:
    """One row a part: whether its first losses are those on record. UserError for an unknown part."""
    from lorabench.mini.build import replay as again

    try:
        rows = again(only, weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    return [
        {
            "part": row["part"],
            "recorded": _numbers(row["recorded"]),
            "replayed": _numbers(row["replayed"]),
            "agrees": "yes" if row["difference"] <= REPLAY_TOLERANCE else "NO",
        }
        for row in rows
    ]


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def audit(out: Path | None) -> dict[str, Any]:
    """Gates, metric table and all measurements; with `out` also written there, beside the contact sheets."""
    from lorabench.mini import audit as metrics
    from lorabench.mini import measure, sheets

    weights = mini.weights_path()
    measured = measure.measure(weights)
    table = metrics.audit(weights).round(3)
    rows = [
        {name: None if value != value else value for name, value in row.items()} for row in table.to_dict("records")
    ]
    result = {"gates": measure.gate_rows(measured), "metrics": rows, "measured": measured}
    if out is not None:
        sheets.write_sheets(weights, out)
        store.write_json(out / "audit.json", result)
    return result
