"""What each artifact is made from, as a key: what only says how the work is done (batches, workers) is part of none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lorabench import components, store
from lorabench.pipeline.measuring import DATASET, HELD_OUT, TEXTS, View
from lorabench.records import Checkpoint, Milestone, PromptSet, told

if TYPE_CHECKING:
    from lorabench.pipeline.measuring import MetricRequest
    from lorabench.pipeline.plan import Merging, Plan, TrainingRun

# A stage's number rises when its results change for the same inputs: old artifacts are then made anew.
STAGE_VERSIONS = {
    **{"train": 2, "merge": 2, "validate": 1, "generate": 2, "encode": 1, "score": 3},
    **{"audit": 1, "rank": 5, "explain": 2, "report": 11},
}


@dataclass(frozen=True)
class Keys:
    """The keys of all that a plan comes to."""

    _plan: Plan

    def checkpoint(self, checkpoint: Checkpoint) -> str:
        """Of the weights: the base's id, a file's hash, or the training that makes them."""
        if checkpoint.id not in self._weights:  # each of a checkpoint's 149 sets asks
            self._weights[checkpoint.id] = self._weights_of(checkpoint)
        return self._weights[checkpoint.id]

    @cached_property
    def _weights(self) -> dict[str, str]:
        return {}

    def _weights_of(self, checkpoint: Checkpoint) -> str:
        if checkpoint.is_base:
            base = self._plan.base_for(checkpoint)
            return base.id if base else ""
        if checkpoint.weights is not None:
            return store.key_of("weights", 1, [checkpoint.sha256, self._base], [])
        merging = self._plan.merging_of(checkpoint)
        return self.merging(merging) if merging else self.training(self._plan.run_of(checkpoint), checkpoint.milestone)

    def training(self, run: TrainingRun, milestone: Milestone) -> str:
        # When a run ends and what else it saves does not change the weights at this milestone; its name neither.
        same = replace(run.config, name="").saved_at(milestone)
        version = components.find("algorithms", run.config.adapter.algorithm).version
        parameters = [same.flat, run.seed, self._plan.study.run.precision, version]
        pictures = self._plan.training_set(run).fingerprint
        return store.key_of("train", STAGE_VERSIONS["train"], parameters, [self._base, pictures])

    def merging(self, merging: Merging) -> str:
        parents = [
            self.training(each.run, merging.milestone) if each.run else store.key_of("weights", 1, [each.sha256], [])
            for each in merging.parents
        ]
        ratios, unused = [each.ratio for each in merging.parents], self._plan.study.unused_keys
        parameters = [ratios, merging.recipe, *([unused] if unused else [])]
        return store.key_of("merge", STAGE_VERSIONS["merge"], parameters, [self._base, *parents])

    def validation(self, checkpoint: Checkpoint) -> str:
        plan, dataset = self._plan, self._plan.dataset
        sampling, training, base = plan.sampling_of(checkpoint), plan.study.training, plan.base_for(checkpoint)
        parameters = [checkpoint.scale, sampling.max_tokens, sampling.clip_skip, plan.validating.draws]
        parameters += [training.resolution, training.bucket_step, plan.study.run.precision, plan.study.unused_keys]
        parameters += self._beside(checkpoint)
        inputs = [self.checkpoint(checkpoint), base.id, dataset.fingerprint, dataset.held_out_fingerprint]
        return store.key_of("validate", STAGE_VERSIONS["validate"], parameters, inputs)

    def images(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> str:
        place = (checkpoint.id, prompt_set.concept.id, prompt_set.type)
        if place not in self._images:
            study, owner = self._plan.study, self._owner(checkpoint)
            inputs = [self._drawn(owner, prompt_set)]
            parameters: list[Any] = []
            if not owner:
                inputs = [self.checkpoint(checkpoint), *inputs]
                parameters = [told(self._plan.sampling_of(checkpoint)), self._drawn_in, checkpoint.scale]
                parameters += [study.unused_keys] if study.unused_keys else []
                other = self._plan.bases.get(checkpoint.setting)
                parameters += [other.id] if other else []
                parameters += self._beside(checkpoint)
            self._images[place] = store.key_of("generate", STAGE_VERSIONS["generate"], parameters, inputs)
        return self._images[place]

    def _beside(self, checkpoint: Checkpoint) -> list[Any]:
        beside = self._plan.beside(checkpoint)
        return ["beside", self._plan.companions[beside[0]], beside[1]] if beside else []

    @property
    def _drawn_in(self) -> str:
        """The precision, and where it rounds: since modules are float16, no longer by autocast, by another name."""
        return {"bfloat16": "float16 modules"}.get(self._plan.study.run.precision, self._plan.study.run.precision)

    # A study of the paper's size asks for each of its 35,000 keys several times.
    @cached_property
    def _images(self) -> dict[tuple[str, str, str], str]:
        return {}

    def features(self, view: View) -> str:
        plan = self._plan
        parameters: list[Any] = [plan.encoder_ids[view.encoder], *([view.resize] if view.resize else [])]
        if view.source == TEXTS:
            parameters, inputs = [*parameters, plan.measuring.texts], []
        elif view.source == DATASET:
            parameters, inputs = [*parameters, plan.measuring.concepts], [plan.dataset.fingerprint]
        elif view.source == HELD_OUT:
            parameters, inputs = [*parameters, plan.measuring.concepts], [plan.dataset.held_out_fingerprint]
        else:
            checkpoint = plan.checkpoint_by_id[view.source]
            inputs = [self.images(checkpoint, each) for each in plan.measuring.sets_for(view.encoder, checkpoint)]
            parameters += self._compression
        return store.key_of("encode", STAGE_VERSIONS["encode"], parameters, inputs)

    @property
    def _compression(self) -> list[Any]:
        quality = self._plan.study.images.webp_quality
        return ["webp", quality] if quality else []

    def scores(self, checkpoint: Checkpoint) -> str:
        plan = self._plan
        metrics = [[request, components.find("metrics", request.metric).version] for request in plan.requests]
        parameters: list[Any] = [checkpoint.id, metrics]
        if plan.measuring.holds_ceiling(checkpoint) and not checkpoint.is_base:
            parameters.append("real images too")
        parameters += [["parts", sorted(plan.round.part_sizes.items())]] if plan.round else []
        # Features that are not stored have a key all the same: what they come from.
        inputs = [self._compared_with(checkpoint), *self._features_of(checkpoint.id)]
        return store.key_of("score", STAGE_VERSIONS["score"], parameters, inputs)

    def audit(self, encoder: str) -> str:
        """Of the probes of the metrics on one encoder: real images only, no checkpoint."""
        requests = [request for request in self._plan.requests if request.encoder == encoder]
        metrics = [[request, components.find("metrics", request.metric).version] for request in requests]
        measuring = self._plan.measuring
        modes = measuring.resize_modes(encoder)
        views = [View(source, encoder, mode) for source in measuring.real for mode in modes]
        return store.key_of("audit", STAGE_VERSIONS["audit"], metrics, [self.features(view) for view in views])

    def metric_id(self, request: MetricRequest, prompt_type: str, concept_id: str | None) -> str:
        """Hash of all that a number means but the checkpoint: equal ids compare, across studies too.

        `concept_id` None = all concepts at once.
        """
        plan, metric = self._plan, components.find("metrics", request.metric)
        own = [
            each for each in plan.every_set if each[1].type == prompt_type and concept_id in (None, each[1].concept.id)
        ]
        # Pictures that were made elsewhere are the checkpoint; what they were asked for may be the same for all.
        asked = {(each.concept.id, each.type, _asked(each)): each for _, each in own}
        drawn = [list(each) for each in asked]
        parameters = [request, metric.version, plan.encoder_ids[request.encoder], told(plan.study.sampling), drawn]
        parameters += self._compression
        # Rounds come to the mean of parts: of a metric of whole sets, another number.
        rounds = plan.rounds or (plan.round and (plan,))
        parameters += [["parts", rounds[0].round.part_sizes.get(prompt_type)]] if rounds else []
        if "text" in metric.compares_with:  # texts for alignment, which no prompt says
            sets = asked.values()
            parameters.append([request.prompt.text_for_alignment for each in sets for request in each.requests])
        floor = plan.base_checkpoint.id if plan.base_checkpoint else ""
        looks_at = {*metric.compares_with, *metric.may_compare_with}
        held_out = [plan.dataset.held_out_fingerprint] if HELD_OUT in looks_at and plan.dataset.held_out else []
        base = [self._base, *(self._drawn(*each) for each in own if each[0] and each[0] == floor)]
        base = base if "base" in metric.compares_with else []
        return store.key_of("metric", 1, parameters, [plan.dataset.fingerprint, *base, *held_out])[:12]

    def _features_of(self, source: str) -> list[str]:
        plan = self._plan
        return [self.features(each) for encoder in plan.encoder_ids for each in plan.measuring.views(encoder, source)]

    @property
    def _base(self) -> str:
        return self._plan.base.id if self._plan.base else ""

    def _owner(self, checkpoint: Checkpoint) -> str:
        """Whose the pictures of a checkpoint are: its own, made elsewhere, or "", what all draw."""
        return checkpoint.id if checkpoint.id in self._plan.own_sets else ""

    def _drawn(self, owner: str, prompt_set: PromptSet) -> str:
        """Hash of what is drawn, texts and noise, or of the pictures that were made elsewhere."""
        # In a round two checkpoints may draw other images of one set.
        which = tuple(request.index for request in prompt_set.requests) if self._plan.round else ()
        place = (owner, prompt_set.concept.id, prompt_set.type, which)
        if place not in self._hashes:
            made = [request.made.sha256 for request in prompt_set.requests if request.made]
            asked = _asked(prompt_set)
            self._hashes[place] = store.key_of("pictures", 1, [asked], made) if made else asked
        return self._hashes[place]

    @cached_property
    def _hashes(self) -> dict[tuple[str, str, str, tuple[int, ...]], str]:
        return {}

    def _compared_with(self, checkpoint: Checkpoint) -> str:
        """What the scores of a checkpoint are made from beside its images."""
        plan, owner = self._plan, self._owner(checkpoint)
        floor = plan.floor_of(checkpoint)
        if (owner, checkpoint.setting) not in self._others:
            sets = [each for whose, each in plan.every_set if whose == owner]
            texts = [request.prompt.text_for_alignment for each in sets for request in each.requests]
            modes = plan.measuring.resize_modes
            inputs = [self.features(View(TEXTS, encoder)) for encoder in plan.encoder_ids]
            inputs += [
                self.features(View(source, encoder, mode))
                for source in plan.measuring.real
                for encoder in plan.encoder_ids
                for mode in modes(encoder)
            ]
            inputs += self._features_of(floor.id) if floor else []
            self._others[owner, checkpoint.setting] = store.key_of("score inputs", 1, texts, inputs)
        return self._others[owner, checkpoint.setting]

    @cached_property
    def _others(self) -> dict[tuple[str, str], str]:
        return {}


def _asked(prompt_set: PromptSet) -> str:
    """Hash of what the pictures of a set are asked for: texts and noise."""
    said = [[request.prompt.text, request.noise_seed] for request in prompt_set.requests]
    return store.key_of("prompts", 1, said, [])
