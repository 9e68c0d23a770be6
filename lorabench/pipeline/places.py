"""Where artifacts lie, in names that a person can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorabench import components
from lorabench.records import Checkpoint, Milestone, PromptSet

if TYPE_CHECKING:
    from lorabench.pipeline.measuring import View
    from lorabench.pipeline.plan import Merging, Plan, TrainingRun

THUMBNAILS, ROUNDS = "thumbnails", "rounds"
WEIGHTS_FILE = "adapter.safetensors"  # of a checkpoint
TRAINING_STATE = "training-state"  # beside the checkpoints of a training that is not over


@dataclass(frozen=True)
class Places:
    """The folders of all that a plan comes to."""

    _plan: Plan

    def checkpoint(self, run: TrainingRun, milestone: Milestone) -> Path:
        return self._in("checkpoints", run.config.name, f"seed-{run.seed}", milestone.folder)

    def merging(self, merging: Merging) -> Path:
        return self._in("checkpoints", merging.name, f"seed-{merging.seed}", merging.milestone.folder)

    def training_state(self, run: TrainingRun) -> Path:
        return self._in("checkpoints", run.config.name, f"seed-{run.seed}", TRAINING_STATE)

    def weights(self, checkpoint: Checkpoint) -> Path | None:
        """Where this study's training or merging puts the weights of a checkpoint; None where they are given."""
        if checkpoint.is_base or checkpoint.weights is not None or checkpoint.id in self._plan.own_sets:
            return None
        merging = self._plan.merging_of(checkpoint)
        if merging is not None:
            return self.merging(merging)
        return self.checkpoint(self._plan.run_of(checkpoint), checkpoint.milestone)

    def images(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> Path:
        concept = prompt_set.concept
        place = (checkpoint.id, concept.id, prompt_set.type)
        if place not in self._images:
            leaf = [part for part in (concept.category, concept.class_name, concept.subclass) if part]
            self._images[place] = self._drawn("images", checkpoint.id, *leaf, prompt_set.type)
        return self._images[place]

    # A study of the paper's size asks for each of its 35,000 folders many times.
    @cached_property
    def _images(self) -> dict[tuple[str, str, str], Path]:
        return {}

    def features(self, view: View) -> Path:
        usual = ("", components.find("encoders", view.encoder).resize_modes[0])
        name = view.encoder + (f"-{view.resize}" if view.resize not in usual else "")
        is_drawn = view.source in self._plan.checkpoint_by_id
        return (self._drawn if is_drawn else self._in)("features", view.source, name)

    def validation(self, checkpoint: Checkpoint) -> Path:
        return self._in("validation", checkpoint.id)

    def scores(self, checkpoint: Checkpoint) -> Path:
        return self._drawn("scores", checkpoint.id)

    def thumbnails(self, source: str) -> Path:
        return (self._drawn if source in self._plan.checkpoint_by_id else self._in)(THUMBNAILS, source)

    def audit(self, encoder: str) -> Path:
        return self._in("audit", encoder)

    def _drawn(self, *parts: str) -> Path:
        """What is drawn in rounds, and what is made of it, lies apart for each."""
        round_ = self._plan.round
        return self._in(*([ROUNDS, str(round_.number)] if round_ else []), *parts)

    def _in(self, *parts: str) -> Path:
        return self._plan.folder.path(*parts)
