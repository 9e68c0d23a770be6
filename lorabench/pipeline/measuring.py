"""What follows from the choice of metrics: through which encoders is looked at which pictures and texts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from lorabench import components
from lorabench.components import EncoderSpec, Metric
from lorabench.config import Study
from lorabench.errors import UserError, unknown
from lorabench.records import Checkpoint, Dataset, PromptSet, PromptType, TrainingImage

if TYPE_CHECKING:
    from lorabench.pipeline.plan import Plan

# Sources of features beside the checkpoints.
DATASET, HELD_OUT, TEXTS = "dataset", "held_out", "texts"


@dataclass(frozen=True)
class MetricRequest:
    """One metric on one encoder, and how data-set pictures are resized for it."""

    metric: str
    encoder: str
    resize: str


def metric_requests(study: Study) -> tuple[MetricRequest, ...]:
    """Every metric on every encoder that the study asks for, checked against what the metric knows.

    Where pictures are held out, metrics of fidelity bring what they say of those, and the gap between both.
    """
    requests = _asked_for(study)
    if not study.data.has_held_out:
        return requests
    following = [
        [request, *(replace(request, metric=request.metric + ending) for ending in _endings(request))]
        for request in requests
    ]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(following)))


def _endings(request: MetricRequest) -> tuple[str, ...]:
    return components.following(components.find("metrics", request.metric))


def _asked_for(study: Study) -> tuple[MetricRequest, ...]:
    requests = []
    for index, choice in enumerate(study.metrics):
        metric: Metric = components.find("metrics", choice.name, f"study '{study.name}', metrics[{index}].name")
        for encoder in choice.encoders or metric.encoders[:1]:
            place = f"study '{study.name}', metrics[{index}].encoders"
            if encoder not in metric.encoders:
                raise UserError(unknown(f"encoder of metric {metric.name}", encoder, metric.encoders, place))
            modes = _resize_modes(study, encoder, place)
            # Of generated pictures all modes agree: they are square.
            modes = modes if {"dataset", "held_out"} & set(metric.compares_with) else modes[:1]
            asked = [MetricRequest(metric.name, encoder, mode) for mode in modes]
            if asked[0] in requests:
                raise UserError(f"Metric '{metric.name}' is asked for twice on encoder '{encoder}' ({place}).")
            requests += asked
    for name in study.encoders:
        components.find("encoders", name, f"study '{study.name}', encoders")
    return tuple(requests)


def measurable(study: Study, dataset: Dataset, has_base: bool) -> tuple[tuple[MetricRequest, ...], list[str]]:
    """What the study asks for and there is something to compare with for, and a sentence on what there is not.

    UserError if nothing is left.
    """
    lacking = {
        **({} if dataset.images else {"dataset": "Without pictures of the concept (--data FOLDER)"}),
        **(
            {} if dataset.held_out else {"held_out": f"Without pictures that no training has seen ({_HOW_TO_HOLD_OUT})"}
        ),
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


_HOW_TO_HOLD_OUT = "data.holdout, data.reference, --reference"


def _resize_modes(study: Study, encoder: str, place: str) -> tuple[str, ...]:
    spec: EncoderSpec = components.find("encoders", encoder, place)
    choice = study.encoders.get(encoder)
    modes = choice.resize if choice and choice.resize else spec.resize_modes[:1]
    for mode in modes:
        if mode not in spec.resize_modes:
            where = f"study '{study.name}', encoders.{encoder}.resize"
            raise UserError(unknown(f"resize mode of encoder {encoder}", mode, spec.resize_modes, where))
    return modes


@dataclass(frozen=True)
class View:
    """A source of pictures or texts as an encoder sees it: what one artifact of features holds."""

    source: str  # id of a checkpoint, DATASET, HELD_OUT or TEXTS
    encoder: str
    resize: str = ""  # how pictures are resized; "" where every way agrees: what is drawn here is square


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

    def resize_modes(self, encoder: str) -> tuple[str, ...]:
        """How pictures are resized for an encoder, in the order of the study."""
        return tuple(dict.fromkeys(each.resize for each in self._plan.requests if each.encoder == encoder))

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

    def views(self, encoder: str, source: str) -> tuple[View, ...]:
        """What an encoder sees of a source: once, or once a way to resize what need not be square; () for nothing."""
        if source in (DATASET, HELD_OUT) and not self.pictures_of(source):
            return ()
        if source == TEXTS and not self.encoder(encoder).reads_text:
            return ()
        square = source not in (DATASET, HELD_OUT, *self._plan.own_sets)
        return tuple(View(source, encoder, mode) for mode in (("",) if square else self.resize_modes(encoder)))

    @property
    def sources(self) -> tuple[str, ...]:
        """All that encoders look at: real pictures, the texts, the checkpoints."""
        return (*self.real, TEXTS, *self._plan.checkpoint_by_id)

    @property
    def real(self) -> tuple[str, ...]:
        """The sources of pictures that were not generated."""
        return (DATASET, HELD_OUT) if self._plan.dataset.held_out else (DATASET,)

    def pictures_of(self, source: str, concept_id: str | None = None) -> tuple[TrainingImage, ...]:
        """Those of a real source, of one concept or of all."""
        every = self._plan.dataset.held_out if source == HELD_OUT else self._plan.dataset.images
        return every if concept_id is None else tuple(each for each in every if each.concept_id == concept_id)

    def compared_with(self, checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
        """A checkpoint and the base model, which it is compared with."""
        base = self._plan.floor_of(checkpoint)
        return (checkpoint,) if base in (checkpoint, None) else (checkpoint, base)

    def holds_ceiling(self, checkpoint: Checkpoint) -> bool:
        """Whether what real images score is worked out with this one: the one checkpoint that every run has."""
        first = self._plan.base_checkpoint or self._plan.checkpoints[0]
        return bool(self._plan.dataset.images) and checkpoint.id == first.id
