"""What follows from the choice of metrics: through which encoders is looked at which pictures and texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lorabench import components
from lorabench.components import EncoderSpec, Metric
from lorabench.config import Study
from lorabench.errors import UserError, unknown
from lorabench.records import Checkpoint, Dataset, PromptSet, PromptType

if TYPE_CHECKING:
    from lorabench.pipeline.plan import Plan

DATASET, TEXTS = "dataset", "texts"  # sources of features beside the checkpoints


@dataclass(frozen=True)
class MetricRequest:
    """One metric on one encoder, and how data-set pictures are resized for it."""

    metric: str
    encoder: str
    resize: str


def metric_requests(study: Study) -> tuple[MetricRequest, ...]:
    """Every metric on every encoder that the study asks for, checked against what the metric knows."""
    requests = []
    for index, choice in enumerate(study.metrics):
        metric: Metric = components.find("metrics", choice.name, f"study '{study.name}', metrics[{index}].name")
        for encoder in choice.encoders or metric.encoders[:1]:
            place = f"study '{study.name}', metrics[{index}].encoders"
            if encoder not in metric.encoders:
                raise UserError(unknown(f"encoder of metric {metric.name}", encoder, metric.encoders, place))
            request = MetricRequest(metric.name, encoder, _resize_mode(study, encoder, place))
            if request in requests:
                raise UserError(f"Metric '{metric.name}' is asked for twice on encoder '{encoder}' ({place}).")
            requests.append(request)
    for name in study.encoders:
        components.find("encoders", name, f"study '{study.name}', encoders")
    return tuple(requests)


def measurable(study: Study, dataset: Dataset, has_base: bool) -> tuple[tuple[MetricRequest, ...], list[str]]:
    """What the study asks for and there is something to compare with for, and a sentence on what there is not.

    UserError if nothing is left.
    """
    lacking = {
        **({} if dataset.images else {"dataset": "Without pictures of the concept (--data FOLDER)"}),
        **({} if has_base else {"base": "Without pictures that the base model drew (a sub-folder 'base')"}),
    }
    requests, left_out = [], {}
    for request in metric_requests(study):
        needed = components.find("metrics", request.metric).compares_with
        source = next((each for each in lacking if each in needed), None)
        if source is None:
            requests.append(request)
        else:
            left_out.setdefault(source, []).append(request.metric)
    remarks = [
        f"{lacking[source]} there is no {', no '.join(dict.fromkeys(names))}." for source, names in left_out.items()
    ]
    if not requests:
        raise UserError(f"Study '{study.name}' measures nothing here. {' '.join(remarks)}")
    return tuple(requests), remarks


def _resize_mode(study: Study, encoder: str, place: str) -> str:
    spec: EncoderSpec = components.find("encoders", encoder, place)
    choice = study.encoders.get(encoder)
    resize = choice.resize if choice and choice.resize else spec.resize_modes[0]
    if resize not in spec.resize_modes:
        where = f"study '{study.name}', encoders.{encoder}.resize"
        raise UserError(unknown(f"resize mode of encoder {encoder}", resize, spec.resize_modes, where))
    return resize


@dataclass(frozen=True)
class Measuring:
    """How the checkpoints of a plan are measured."""

    _plan: Plan

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Ids of the concepts that there are pictures of."""
        return tuple(dict.fromkeys(each.concept.id for _, each in self._plan.every_set))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Distinct texts for alignment, sorted."""
        prompts = (request.prompt for _, each in self._plan.every_set for request in each.requests)
        return tuple(sorted({prompt.text_for_alignment for prompt in prompts} - {""}))

    def metric(self, name: str) -> Metric:
        return components.find("metrics", name)

    def encoder(self, name: str) -> EncoderSpec:
        return components.find("encoders", name)

    def encoders_where(self, stored: bool) -> tuple[str, ...]:
        return tuple(name for name in self._plan.encoder_ids if self.encoder(name).stored == stored)

    def resize_mode(self, encoder: str) -> str:
        return next(request.resize for request in self._plan.requests if request.encoder == encoder)

    def sets_for(self, encoder: str, checkpoint: Checkpoint) -> tuple[PromptSet, ...]:
        """The pictures of a checkpoint that some metric looks at through this encoder."""
        wanted = self._types[encoder]
        return tuple(each for each in self._plan.sets_of(checkpoint) if each.type in wanted)

    @cached_property
    def _types(self) -> dict[str, set[PromptType]]:
        types: dict[str, set[PromptType]] = {}
        for request in self._plan.requests:
            types.setdefault(request.encoder, set()).update(self.metric(request.metric).prompt_types)
        return types

    def sources(self, encoder: str) -> tuple[str, ...]:
        """What is looked at through an encoder beside the checkpoints' pictures."""
        pictures = (DATASET,) if self._plan.dataset.images else ()
        return (*pictures, TEXTS) if self.encoder(encoder).reads_text else pictures

    def compared_with(self, checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
        """A checkpoint and the base model, which it is compared with."""
        base = self._plan.base_checkpoint
        return (checkpoint,) if base in (checkpoint, None) else (checkpoint, base)

    def holds_ceiling(self, checkpoint: Checkpoint) -> bool:
        """Whether what real images score is worked out with this one: the one checkpoint that every run has."""
        first = self._plan.base_checkpoint or self._plan.checkpoints[0]
        return bool(self._plan.dataset.images) and checkpoint.id == first.id
