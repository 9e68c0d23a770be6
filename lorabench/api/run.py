"""A run as a Python program has it: tables as frames, what they say, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lorabench.api.choosing import Recipe
    from lorabench.api.comparing import Comparison
    from lorabench.pipeline.run import Result
    from lorabench.report.tables import RunTables

REPORT = "report.html"
FigureKind = Literal["trade_off", "shap", "epochs", "correlation"]


@dataclass(frozen=True)
class Run:
    """A finished study in its folder. Frames are read when they are first asked for.

    `study` names one of several studies in a folder; frames are then its own (by default those of the first), and
    answers speak of it alone. `result` is what was made and what failed, where this program has just run it.
    UserError from whatever asks for a table that the folder does not hold.
    """

    folder: Path
    study: str | None = None
    result: Result | None = field(default=None, repr=False)

    @cached_property
    def studies(self) -> list[str]:
        """Their names: a folder may hold the tables of several, which are ranked apart."""
        from lorabench.report.runs import study_names

        return study_names(self.folder)

    # --- tables -------------------------------------------------------------------------------------------------------

    @cached_property
    def tables(self) -> RunTables:
        """All of them, with the study's settings, its metrics and its provenance."""
        from lorabench.report.runs import read_run

        return read_run(self.folder, self.study)

    @property
    def settings(self) -> Mapping[str, object]:
        """The study as it was run: data, prompts, training, sampling, encoders."""
        return self.tables.study

    @property
    def scores(self) -> pd.DataFrame:
        """A raw value a checkpoint, class, prompt type, metric, encoder and resizing; a missing one with its reason."""
        return self.tables.scores

    @property
    def normalized(self) -> pd.DataFrame:
        """The same leaf rows as ranks in [0, 1]."""
        return self.tables.normalized

    @property
    def category_scores(self) -> pd.DataFrame:
        """Mean normalised score of each category, and of all classes ("all")."""
        return self.tables.category_scores

    @property
    def attributions(self) -> pd.DataFrame:
        """SHAP values: a row a checkpoint, measurement and factor."""
        return self.tables.attributions

    @property
    def explanations(self) -> pd.DataFrame:
        """How well the models behind `attributions` fit: R2 cross-validated and on the fitted rows, a row a target."""
        return self.tables.explanations

    @property
    def costs(self) -> pd.DataFrame:
        """Seconds, bytes, peak memory, energy and device of every task.

        `process_memory_bytes` is the peak of the process since it began, whatever it did before; `device_memory_bytes`
        that of the GPU's allocator during the task; `device_energy_joules` what the whole GPU took since the artifact
        before, as its driver counts it (`lorabench[gpu]`), missing where another process computes on it. They compare
        on one `device_name`.
        """
        return self.tables.costs

    @property
    def failures(self) -> pd.DataFrame:
        """What failed, was skipped or was interrupted: stage, item, status, message."""
        return self.tables.failures

    @property
    def images(self) -> pd.DataFrame:
        """A row an image: prompt, noise seed, values of its own where a metric has them, thumbnail."""
        return self.tables.images

    @property
    def losses(self) -> pd.DataFrame:
        """Training losses, learning rates and norms of gradients by step."""
        return self.tables.losses

    # --- answers ------------------------------------------------------------------------------------------------------

    def leaderboard(
        self, *, category: str = "all", epochs: Sequence[int] = (), metrics: Sequence[str] = (), prompts: str = ""
    ) -> pd.DataFrame:
        """Every config by each criterion, best first: its score, and its difference from the best with interval and q.

        Of each config's last epoch, or of `epochs`; `metrics` and `prompts` name what criteria are judged by, where not
        by what the report takes.
        """
        from lorabench.api import choosing
        from lorabench.api.measurements import Selection

        return self._own(choosing.leaderboard(self.folder, Selection(category, tuple(epochs), tuple(metrics), prompts)))

    def epochs(
        self, *, category: str = "all", epochs: Sequence[int] = (), metrics: Sequence[str] = (), prompts: str = ""
    ) -> pd.DataFrame:
        """Every epoch of each config by each criterion: its score, and its difference from the config's best epoch."""
        from lorabench.api import choosing
        from lorabench.api.measurements import Selection

        return self._own(choosing.epochs(self.folder, Selection(category, tuple(epochs), tuple(metrics), prompts)))

    def choices(self, *, category: str = "all", metrics: Sequence[str] = (), prompts: str = "") -> pd.DataFrame:
        """Every epoch and merge ratio of each config against the config's best file by each criterion; raw values.

        Compared image by image, seeds averaged; with the base model's value (`floor`) and that of real images
        (`ceiling`). Of these files: `epochs()` speaks of the config.
        """
        from lorabench.api import moment_choices
        from lorabench.api.measurements import Selection

        return self._own(moment_choices.choices_of(self.folder, Selection(category, (), tuple(metrics), prompts)))

    def files(self, *, category: str = "all", metrics: Sequence[str] = (), prompts: str = "") -> pd.DataFrame:
        """Every adapter file by each criterion, best first, compared image by image: of these files, not of configs."""
        from lorabench.api import file_comparison
        from lorabench.api.measurements import Selection

        return self._own(file_comparison.files(self.folder, Selection(category, (), tuple(metrics), prompts)))

    def recipe(
        self,
        at_least: Mapping[str, float],
        *,
        max_mib: float | None = None,
        category: str = "all",
        epochs: Sequence[int] = (),
        metrics: Sequence[str] = (),
        prompts: str = "",
    ) -> Recipe:
        """Configs and epochs that reach scores (criterion -> least in [0, 1]) with files of at most `max_mib`.

        The likeliest members of the Pareto front first; `nearest` where none is good enough.
        """
        from lorabench.api import choosing
        from lorabench.api.measurements import Selection

        selection = Selection(category, tuple(epochs), tuple(metrics), prompts)
        return choosing.recipe(self.folder, at_least, max_mib, selection)

    def claims(self) -> pd.DataFrame:
        """What the LyCORIS paper claims, asked of this study: each with its effect, interval and verdict."""
        from lorabench.api import findings

        return self._own(findings.claims_table(self.folder))

    def signals(
        self, *, category: str = "all", epochs: Sequence[int] = (), metrics: Sequence[str] = (), prompts: str = ""
    ) -> pd.DataFrame:
        """What held-out loss, gaps, copy rate and the health of weights say of scores: rank correlations.

        Among all checkpoints of a concept, those of one algorithm or moment, and the moments of one training (`among`),
        each with its 95 % interval and q. `epochs`, `metrics` and `prompts` as of `leaderboard`.
        """
        from lorabench.api import foretelling
        from lorabench.api.measurements import Selection

        selection = Selection(category, tuple(epochs), tuple(metrics), prompts)
        return self._own(foretelling.signals_table(self.folder, selection))

    def compare(self, other: Run | str | PathLike[str], *, category: str = "all") -> Comparison:
        """The other run's raw values less this one's, config by config, and what the two say differently of themselves.

        UserError where they did not measure in the same way.
        """
        from lorabench.api import comparing

        folder = other.folder if isinstance(other, Run) else Path(other)
        return comparing.compare(self.folder, folder, category)

    def _own(self, found: pd.DataFrame) -> pd.DataFrame:
        return found if self.study is None else found[found["study"] == self.study].reset_index(drop=True)

    # --- pictures and files -------------------------------------------------------------------------------------------

    @property
    def report(self) -> Path | None:
        """The HTML page, where there is one."""
        page = self.folder / REPORT
        return page if page.exists() else None

    def figures(self, *kinds: FigureKind, category: str = "all") -> dict[str, Figure]:
        """The figures that there are numbers for, by name, as matplotlib figures; all kinds if none is named."""
        from lorabench.report.figures import draw_figures

        return draw_figures(self.tables, kinds, category)

    def write_figures(self, out: str | PathLike[str] | None = None, category: str = "all") -> list[Path]:
        """All figures as SVG and PNG, by default into `figures` beside the tables; returns the files.

        Of a category: those that differ by category. UserError for one that there is not.
        """
        from lorabench.report.figures import write_figures

        return write_figures(self.tables, self.folder / "figures" if out is None else Path(out), category)

    def export(self, out: str | PathLike[str], kind: Literal["csv", "parquet", "json"] = "csv") -> list[Path]:
        """Write every table into a folder that is not there yet; thumbnails only as parquet. Returns the files."""
        from lorabench.api import exporting

        return exporting.export(self.folder, Path(out), kind)

    def _repr_html_(self) -> str:
        """Who leads by each criterion, for a notebook."""
        from lorabench.api.measurements import leaders
        from lorabench.errors import UserError

        title = f"<b>{escape(self.study or self.folder.name)}</b>, <code>{escape(str(self.folder))}</code>"
        try:
            table = leaders(self.leaderboard()).to_html(index=False)
        except UserError as error:
            table = f"<p>{escape(str(error))}</p>"
        page = f'<p><a href="{escape(self.report.resolve().as_uri())}">Report</a></p>' if self.report else ""
        return f"<div>{title}{table}{page}</div>"
