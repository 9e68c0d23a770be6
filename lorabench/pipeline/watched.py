"""A training followed while it runs, where it is asked for: event files for TensorBoard, pictures every so often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lorabench import adapters, diffusion, images, store
from lorabench.adapters import Adapter
from lorabench.pipeline import models
from lorabench.pipeline.plan import Plan, TrainingRun
from lorabench.records import PromptSet
from lorabench.stages import generate

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS, SAMPLES = "tensorboard", "samples"  # folders of a run


class Watched:
    """What is done beside each step of a training."""

    def __init__(self, plan: Plan, run: TrainingRun, first: int, advance: Callable[[int], None]) -> None:
        self._plan, self._run, self._advance = plan, run, advance
        settings = plan.study.run
        self._events = _writer(plan, run, first) if settings.tensorboard else None
        self._every = settings.sample_every

    def on_step(self, step: int, total: int, loss: float, rate: float, grad_norm: float) -> None:
        if self._events is not None:
            for name, value in (("loss", loss), ("learning_rate", rate), ("gradient_norm", grad_norm)):
                self._events.add_scalar(name, value, step)
        self._advance(1)

    def on_adapter(self, step: int, adapter: Adapter) -> None:
        if self._every and step % self._every == 0:
            _sample(self._plan, self._run, step, adapter)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def _writer(plan: Plan, run: TrainingRun, first: int) -> SummaryWriter:
    """What a training that goes on writes again counts in the place of what was written."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(plan.root / EVENTS / run.id), purge_step=first + 1)


def _sample(plan: Plan, run: TrainingRun, step: int, adapter: Adapter) -> None:
    """Draw the first picture of each concept, from the noise that its checkpoints are drawn from."""
    sampler = models.sampler(plan, plan.checkpoints[0])
    base, sets = sampler.base, _first_pictures(plan)
    folder = plan.root / SAMPLES / run.config.name / f"seed-{run.seed}" / f"step-{step:06d}"
    merged = adapters.swapped(base.components, (adapter, 1.0), into=sampler.components)
    with merged, diffusion.with_words(base, adapter.words) as knowing:
        settings = plan.study.images
        drawn = generate.generate(replace(sampler, base=knowing), sets, plan.study.sampling, settings.batch_size)
        for each in drawn:
            name = f"{store.safe_name(each.prompt_set.concept.id)}.png"
            images.write(folder / name, each.images[0])


def _first_pictures(plan: Plan) -> list[PromptSet]:
    """Of each concept one prompt set, that of the trigger if it is drawn, with one picture."""
    found: dict[str, PromptSet] = {}
    for each in sorted(plan.prompt_sets, key=lambda each: each.type != "trigger"):
        found.setdefault(each.concept.id, replace(each, requests=each.requests[:1]))
    return list(found.values())
