"""What a report is made from: the tables of a run, and the columns (measurements) found in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lorabench.components import UserError, unknown
from lorabench.records import PROMPT_TYPES
from lorabench.report.words import CRITERIA, metric_words, prompt_words
from lorabench.statistics.columns import (
    COLLAPSED_COLUMNS,
    DECISION_COLUMNS,
    FACTORS,
    HEALTH_COLUMNS,
    INTERFERENCE_COLUMNS,
    LOSS_COLUMNS,
    METRIC,
    NORM_COLUMNS,
    PROBE_COLUMNS,
    VALIDATION_COLUMNS,
)
from lorabench.statistics.dilution import DILUTION_COLUMNS

BASE = "none"  # the algorithm of the base model
DATASET = "dataset"  # the "checkpoint" of real pictures
HELD_OUT = "held_out"  # the "prompt type" of those that were not trained on


# The tables of a run, as its parquet files are called.
TABLES = (
    *("scores", "normalized", "category_scores", "attributions", "explanations"),
    *(
        "images",
        "costs",
        "losses",
        "norms",
        "validation",
        "health",
        "collapsed",
        "failures",
        "probes",
        "files",
        "choices",
        "merges",
        "decisions",
        "interference",
    ),
)


@dataclass(frozen=True)
class RunTables:
    """A run as tables; columns are the ones of its parquet files. Any table may be empty, none may be missing.

    `metrics` describes every metric of `scores`: objects or dicts with name, criterion, higher_is_better, description
    and encoders (best known first). `study` and `provenance` are shown as they are; known keys get a better place.
    """

    study: Mapping[str, Any]
    scores: pd.DataFrame
    normalized: pd.DataFrame
    category_scores: pd.DataFrame
    attributions: pd.DataFrame
    explanations: pd.DataFrame
    images: pd.DataFrame
    costs: pd.DataFrame
    failures: pd.DataFrame
    metrics: Sequence[Any]
    provenance: Mapping[str, Any]
    probes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PROBE_COLUMNS))  # `stages.audit.probe`
    files: pd.DataFrame = field(default_factory=pd.DataFrame)  # `compare_files_with_best`
    choices: pd.DataFrame = field(default_factory=pd.DataFrame)  # `compare_moments_with_best`
    merges: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=DILUTION_COLUMNS))  # `dilution`
    decisions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=DECISION_COLUMNS))  # of rounds
    interference: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=INTERFERENCE_COLUMNS))
    losses: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=LOSS_COLUMNS))
    norms: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=NORM_COLUMNS))
    # `pipeline.validation`: losses on training and held-out pictures, and the health of updates by block.
    validation: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*FACTORS, *VALIDATION_COLUMNS]))
    collapsed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*FACTORS, *COLLAPSED_COLUMNS]))
    health: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*FACTORS, *HEALTH_COLUMNS]))


@dataclass(frozen=True)
class MetricInfo:
    """What the report says about a metric."""

    name: str
    criterion: str
    higher_is_better: bool
    description: str
    encoders: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One measurement: values of two columns never mix."""

    prompt_type: str
    metric: str
    encoder: str
    resize: str
    info: MetricInfo

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """In the order of `statistics.columns.METRIC`."""
        return (self.prompt_type, self.metric, self.encoder, self.resize)

    @property
    def label(self) -> str:
        return f"{metric_words(self.metric)}, {prompt_words(self.prompt_type)}"

    @property
    def details(self) -> str:
        """Encoder and resizing, e.g. "dinov2, letterbox"."""
        return ", ".join(part for part in (self.encoder, self.resize) if part)

    @property
    def direction(self) -> str:
        return "higher is better" if self.info.higher_is_better else "lower is better"


def metric_infos(metrics: Sequence[Any]) -> dict[str, MetricInfo]:
    """The metrics by name, from dicts or objects with the fields of `components.Metric`."""
    infos = {}
    for metric in metrics:
        fields = metric if isinstance(metric, Mapping) else vars(metric)
        infos[fields["name"]] = MetricInfo(
            name=fields["name"],
            criterion=fields["criterion"],
            higher_is_better=bool(fields["higher_is_better"]),
            description=" ".join(str(fields.get("description") or "").split()),
            encoders=tuple(fields.get("encoders") or ()),
        )
    return infos


def find_columns(tables: RunTables) -> list[Column]:
    """Every measurement of the run, by criterion, metric, prompt type, and the metric's own order of encoders.

    UserError if `scores` holds a metric that `metrics` does not describe: its direction would be a guess.
    """
    return columns_of(tables.scores, metric_infos(tables.metrics))


def columns_of(scores: pd.DataFrame, infos: Mapping[str, MetricInfo]) -> list[Column]:
    """The same for any table with the columns METRIC."""
    columns = []
    for identity in scores[METRIC].fillna("").drop_duplicates().itertuples(index=False):
        if identity.metric not in infos:
            raise UserError(unknown("metric", identity.metric, sorted(infos), "report, scores table"))
        columns.append(Column(*(getattr(identity, name) for name in METRIC), info=infos[identity.metric]))
    return sorted_columns(columns)


def sorted_columns(columns: Iterable[Column]) -> list[Column]:
    """By criterion, metric, prompt type, and the metric's own order of encoders."""
    return sorted(columns, key=_order)


def _order(column: Column) -> tuple:
    criteria, encoders = list(CRITERIA), column.info.encoders
    return (
        criteria.index(column.info.criterion) if column.info.criterion in criteria else len(criteria),
        column.metric,
        PROMPT_TYPES.index(column.prompt_type) if column.prompt_type in PROMPT_TYPES else len(PROMPT_TYPES),
        encoders.index(column.encoder) if column.encoder in encoders else len(encoders),
        ("", "letterbox").index(column.resize) if column.resize in ("", "letterbox") else 2,
        column.encoder,
        column.resize,
    )


# What a criterion is judged by first (the paper's main text); other prompt types and metrics follow.
_HEADLINES = {
    "fidelity": ("image_similarity", "train"),
    "controllability": ("text_similarity", "alter"),
    "diversity": ("vendi", "trigger"),
    "base_model_preservation": ("style_loss_base", "style"),
    "memorisation": ("image_similarity_gap", "train"),
}
# What is no aim of its own, or only where it is measured as above: a rate of copies, say, stands beside the others.
_WITHOUT_HEADLINE = ("image_quality",)
_ONLY_AS_ABOVE = ("memorisation",)


def usual_column(criterion: str) -> tuple[str, str] | None:
    """Metric and prompt type that a criterion is judged by where a study has them; None of criteria without any."""
    return _HEADLINES.get(criterion)


def headline_columns(columns: Sequence[Column]) -> list[Column]:
    """One column a criterion: the paper's where the run has it, else the criterion's first. Image quality has none, and
    memorisation where nothing is held out."""
    chosen = []
    for criterion in dict.fromkeys(c.info.criterion for c in columns if c.info.criterion not in _WITHOUT_HEADLINE):
        candidates = [column for column in columns if column.info.criterion == criterion]
        wanted = _HEADLINES.get(criterion)
        best = [column for column in candidates if (column.metric, column.prompt_type) == wanted]
        if best or criterion not in _ONLY_AS_ABOVE:
            chosen.append((best or candidates)[0])
    return chosen


def first_column(columns: Sequence[Column], metric: str, prompt_type: str) -> Column | None:
    """The column of a metric and prompt type with the encoder and resizing that the metric names first."""
    return next((c for c in columns if (c.metric, c.prompt_type) == (metric, prompt_type)), None)
