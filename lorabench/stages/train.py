"""Train one config with one seed on captioned images, and yield the adapter at each epoch that is asked for.

Data order, noise, timesteps and caption drop depend on (seed, step, sample) only, never on the algorithm: two configs
with one seed see the same training, so their comparison is paired.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from lorabench import adapters, components, diffusion, schedules
from lorabench.adapters import Adapter
from lorabench.base_models import BaseModel
from lorabench.bases import UNET
from lorabench.errors import UserError
from lorabench.records import Milestone, TrainConfig, TrainingConfig, TrainingImage
from lorabench.stages import losses, regularised, samples
from lorabench.stages.optimizers import optimizer_of
from lorabench.stages.samples import Batch
from lorabench.stages.watching import Log, OnStep, Seen, Trace, update_norms

# (milestone of the checkpoint that is being trained, what makes the state), once a step, but for a checkpoint's last.
OnState = Callable[[Milestone, Callable[[], "TrainState"]], None]


@dataclass(frozen=True)
class TrainState:
    """All that training needs to go on as if it had never stopped; tensors on the CPU."""

    step: int
    params: Mapping[str, components.Params]
    optimizer: Mapping[str, Any]
    trace: Trace = Trace()  # of the steps since the last checkpoint
    words: components.Words = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """Tensors and plain values, which torch reads without running anything."""
        return vars(self) | {"trace": vars(self.trace)}

    @classmethod
    def from_plain(cls, saved: Mapping[str, Any]) -> TrainState:
        """The state of such a table. TypeError, KeyError for another."""
        return cls(**{**saved, "trace": Trace(**saved["trace"])})


@dataclass(frozen=True)
class Trained:
    """What training has come to at one of its milestones."""

    milestone: Milestone
    step: int
    adapter: Adapter  # copies on the CPU
    trace: Trace  # of the steps since the last one yielded
    state: TrainState


def train(
    base: BaseModel,
    dataset_images: Sequence[TrainingImage],
    config: TrainConfig,
    algorithm: components.Algorithm,
    seed: int,
    *,
    encoded: Sequence[samples.EncodedImage] | None = None,
    words: Mapping[str, str] | None = None,
    resume: TrainState | None = None,
    on_step: OnStep | None = None,
    on_state: OnState | None = None,
    on_adapter: Callable[[int, Adapter], None] | None = None,
    micro_batch: int | None = None,
    recompute: bool = False,
) -> Iterator[Trained]:
    """Train from scratch or from a state, yielding at each of the config's `milestones`.

    `encoded` are those of `samples.encode_images`, made here if not given; `words` are those that a config with
    `vectors` trains, each with the text that it begins as. A resumed run equals an uninterrupted one
    bit by bit (on a GPU as far as its kernels are deterministic), from whatever step; `on_state` may keep the state of
    any; `on_adapter` may look at the weights after each. TrainingDiverged if the loss or a weight is not finite.

    For small memories: `micro_batch` samples of a batch are computed at once (None = all), their gradients added; with
    `recompute` the U-Net's activations are computed again in the backward pass (gradient checkpointing).
    """
    training = config.training
    if training.zero_terminal_snr and not base.predicts_velocity:
        raise UserError(
            f"Config '{config.name}' has zero_terminal_snr, which is for base models that predict velocity: of noise "
            "alone nothing can be predicted."
        )
    if encoded is None:
        encoded = samples.encode_images(base, dataset_images, training)
    begin = diffusion.words_like(base, words, config.adapter.vectors) if words and config.adapter.vectors else {}
    adapter = adapters.create(base.components, algorithm, config.adapter, seed, begin)
    base = diffusion.reading(base, begin)
    examples, of_classes = samples.examples_of(base, dataset_images, encoded, training.max_tokens)
    if training.prior_weight and of_classes is None:
        raise UserError(f"Config '{config.name}' has a prior_weight, and there are no class images to weigh.")
    params = adapters.parameters(adapter)
    optimizer, apart = _optimizer(adapter, training, base.device), adapters.cheaper_apart(base.components, adapter)
    if resume is not None:
        _restore(adapter, optimizer, resume)
    first = 0 if resume is None else resume.step
    per_epoch = len(samples.epoch_batches(examples, training.batch_size, seed, 0))
    kept = {milestone.step(per_epoch): milestone for milestone in training.milestones}
    length = training.steps or per_epoch * training.epochs
    multiplier = schedules.multiplier(training, training.lr, length, per_epoch)
    name = f"Config '{config.name}', seed {seed}"
    log = Log(name, max(kept), on_step, Trace() if resume is None else resume.trace)
    for step, drawn in enumerate(_order(examples, training.batch_size, seed, max(kept))):
        if step < first:
            continue
        parts = samples.draw_batch(base, examples, drawn, seed, step, training).parts(micro_batch)
        prior: list[Batch] = []
        if training.prior_weight:
            prior = samples.draw_class_batch(base, of_classes, seed, step, training).parts(micro_batch)
        for group in optimizer.param_groups:
            group["lr"] = training.lr * multiplier(step) * group["ratio"]
        seen = regularised.dropped(base.components, adapters.for_step(adapter, seed, step), training, seed, step)
        with diffusion.recomputing(base) if recompute else nullcontext():
            log.add(step, _update(base, seen, apart, params, optimizer, parts, prior, training))
        if training.scale_weight_norms:
            regularised.within_norm(base.components, adapter, training.scale_weight_norms)
        done = step + 1
        if on_adapter is not None:
            on_adapter(done, adapter)
        if done in kept or done % per_epoch == 0:
            log.add_norms(done, update_norms(base.components, adapter, begin))
        if done in kept:
            yield _trained(adapter, optimizer, kept[done], done, log)
        elif on_state is not None:
            following = min(each for each in kept if each > done)
            on_state(kept[following], partial(_state, adapter, optimizer, done, log))


def _order(examples: samples.Examples, batch_size: int, seed: int, steps: int) -> Iterator[np.ndarray]:
    """The samples of each of so many steps, epoch after epoch."""
    epochs = (samples.epoch_batches(examples, batch_size, seed, epoch) for epoch in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(epochs), steps)


def _optimizer(adapter: Adapter, training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer of a fresh adapter with a group for each learning rate; "ratio" is the group's to the config's.

    LoRA+ (Hayou et al. 2024) has a rate of its own for factors that start at zero beside others that do not: of LoRA
    lora_up.
    """
    ratios = _ratios(training)
    groups: dict[float, list[torch.Tensor]] = {}
    for name, params in adapter.modules.items():
        part = ratios[name.partition(".")[0]]
        tensors = adapters.trained(params)
        has_first = training.lora_plus_ratio != 1 and any(bool(tensor.any()) for tensor in tensors)
        for tensor in tensors:
            is_second = has_first and not tensor.any()
            groups.setdefault(part * (training.lora_plus_ratio if is_second else 1.0), []).append(tensor)
    for of in adapter.words.values():
        groups.setdefault(ratios["words"], []).extend(of.values())
    rows = [{"params": params, "ratio": ratio} for ratio, params in groups.items()]
    return optimizer_of(rows, training, device)


def _ratios(training: TrainingConfig) -> dict[str, float]:
    """The learning rate of each part of the base model, and of words, by the config's."""
    first = 1.0 if training.text_encoder_lr is None else training.text_encoder_lr / training.lr
    second = first if training.text_encoder_2_lr is None else training.text_encoder_2_lr / training.lr
    words = 1.0 if training.embedding_lr is None else training.embedding_lr / training.lr
    return {UNET: 1.0, "text_encoder": first, "text_encoder_2": second, "words": words}


def _update(
    base: BaseModel,
    adapter: Adapter,
    apart: frozenset[str],
    params: list[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    parts: list[Batch],
    prior: list[Batch],
    training: TrainingConfig,
) -> Seen:
    """One step of the optimizer on the parts of a batch together, and on those of class images by their weight.

    The loss that is seen is that on the batch itself: what configs with and without class images share.
    """
    optimizer.zero_grad(set_to_none=True)
    size, others = sum(map(len, parts)), sum(map(len, prior))
    loss = sum(_backward(base, adapter, apart, part, training, len(part) / size) for part in parts)
    for part in prior:
        _backward(base, adapter, apart, part, training, training.prior_weight * len(part) / others)
    grad_norm = torch.nn.utils.clip_grad_norm_(params, training.max_grad_norm)
    optimizer.step()
    first = optimizer.param_groups[0]
    rate = first["lr"] / first["ratio"] * float(first.get("d", 1.0))  # d: Prodigy's own estimate of a rate
    return Seen(loss, grad_norm, rate)


def _backward(
    base: BaseModel,
    adapter: Adapter,
    apart: frozenset[str],
    batch: Batch,
    training: TrainingConfig,
    share: float,
) -> torch.Tensor:
    """Add the gradient of that share of the loss."""
    alphas = losses.zero_terminal(base.alphas_cumprod) if training.zero_terminal_snr else base.alphas_cumprod

    def forward_and_back() -> torch.Tensor:
        texts = diffusion.embed_tokens(base, batch.tokens, training.clip_skip)
        prediction = diffusion.noise_prediction(
            base,
            batch.latents,
            texts,
            batch.noise,
            batch.timesteps,
            batch.sizes,
            seen_noise=batch.seen_noise,
            alphas_cumprod=alphas,
        )
        velocity = base.predicts_velocity
        each = losses.sample_losses(training, *prediction, batch.timesteps, alphas, velocity, batch.mask)
        loss = each.mean() * share
        loss.backward()
        return loss.detach()

    with adapters.run_apart(base.components, adapter, apart) as others:
        weights = adapters.merged_weights(base.components, others)
        return diffusion.with_weights(base, weights | diffusion.word_weights(base, adapter.words), forward_and_back)


def _trained(adapter: Adapter, optimizer: torch.optim.Optimizer, milestone: Milestone, step: int, log: Log) -> Trained:
    trace = log.take()
    saved = adapters.copy_to(adapter, "cpu")
    log.require_finite(saved, step)
    return Trained(milestone, step, saved, trace, _state_of(saved, optimizer, step, Trace()))


def _state(adapter: Adapter, optimizer: torch.optim.Optimizer, step: int, log: Log) -> TrainState:
    """Copies: the optimizer goes on changing its own in place."""
    return _state_of(adapters.copy_to(adapter, "cpu"), optimizer, step, log.so_far())


def _state_of(saved: Adapter, optimizer: torch.optim.Optimizer, step: int, trace: Trace) -> TrainState:
    return TrainState(step, saved.modules, _on_cpu(optimizer.state_dict()), trace, saved.words)


def _restore(adapter: Adapter, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    with torch.no_grad():
        for name, params in adapter.modules.items():
            for suffix, tensor in params.items():
                tensor.copy_(state.params[name][suffix])
        for word, of in adapter.words.items():
            for encoder, vectors in of.items():
                vectors.copy_(state.words[word][encoder])
    # load_state_dict keeps tensors that fit; without a copy, training would change the caller's state.
    optimizer.load_state_dict(copy.deepcopy(dict(state.optimizer)))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
