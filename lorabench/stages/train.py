"""Train one config with one seed on captioned images, and yield the adapter at each epoch that is asked for.

Data order, noise, timesteps and caption drop depend on (seed, step, sample) only, never on the algorithm: two configs
with one seed see the same training, so their comparison is paired.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lorabench import adapters, components, datasets, diffusion, images, schedules
from lorabench.adapters import Adapter
from lorabench.base_models import BaseModel
from lorabench.bases import sizes_of
from lorabench.errors import UserError
from lorabench.records import TrainConfig, TrainingConfig, TrainingImage
from lorabench.seeds import derive_seed
from lorabench.stages import losses, regularised
from lorabench.stages.optimizers import optimizer_of

OnStep = Callable[[int, int, float], None]  # (step, total steps, loss), once a step, one step late


class TrainingDiverged(RuntimeError):
    """The loss or the weights stopped being finite; the message names config, seed and step."""


@dataclass(frozen=True)
class TrainState:
    """All that training needs to go on as if it had never stopped; tensors on the CPU."""

    step: int
    params: Mapping[str, components.Params]
    optimizer: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """What training has come to at the end of an epoch."""

    epoch: int
    step: int
    adapter: Adapter  # copies on the CPU
    losses: tuple[float, ...]  # of the steps since the last one yielded
    state: TrainState


@dataclass(frozen=True)
class EncodedImage:
    """A picture cut to its bucket, on the base model's device."""

    latents: torch.Tensor  # [c, h, w]
    sizes: torch.Tensor  # [6]: `bases.sizes_of` the picture and its cut


@dataclass(frozen=True)
class Batch:
    """Samples of one bucket, ready for the loss; on the base model's device, but for the tokens."""

    latents: torch.Tensor  # [n, c, h, w]
    sizes: torch.Tensor  # [n, 6]
    tokens: torch.Tensor  # int64 [n, text encoders, chunks, length]
    noise: torch.Tensor  # [n, c, h, w]
    seen_noise: torch.Tensor  # [n, c, h, w]: what is put into the picture, where it is not the noise to predict
    timesteps: torch.Tensor  # int64 [n]

    def __len__(self) -> int:
        return len(self.latents)

    def parts(self, most: int | None) -> list[Batch]:
        """The batch in pieces of at most so many samples; None = in one."""
        if most is None or most >= len(self):
            return [self]
        tensors = self.latents, self.sizes, self.tokens, self.noise, self.seen_noise, self.timesteps
        return [Batch(*piece) for piece in zip(*(each.split(most) for each in tensors))]


@dataclass(frozen=True)
class Examples:
    """A data set as training reads it. A sample is one repeat of an image."""

    images: tuple[EncodedImage, ...]
    tokens: torch.Tensor  # int64 [images, text encoders, chunks, length]
    no_tokens: torch.Tensor  # int64 [text encoders, chunks, length]: the empty caption
    image_of: np.ndarray  # int [samples]


def train(
    base: BaseModel,
    dataset_images: Sequence[TrainingImage],
    config: TrainConfig,
    algorithm: components.Algorithm,
    seed: int,
    *,
    encoded: Sequence[EncodedImage] | None = None,
    resume: TrainState | None = None,
    on_step: OnStep | None = None,
    micro_batch: int | None = None,
    recompute: bool = False,
) -> Iterator[Trained]:
    """Train from scratch or from a state, yielding at each of the config's `checkpoint_epochs`.

    `encoded` are those of `encode_images`, made here if not given. A resumed run equals an uninterrupted one bit by bit
    (on a GPU as far as its kernels are deterministic). TrainingDiverged if the loss or a weight is not finite.

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
        encoded = encode_images(base, dataset_images, training.resolution)
    examples = _examples(base, dataset_images, encoded, training.max_tokens)
    adapter = adapters.create(base.components, algorithm, config.adapter, seed)
    params = adapters.parameters(adapter)
    optimizer, apart = _optimizer(adapter, training, base.device), adapters.cheaper_apart(base.components, adapter)
    if resume is not None:
        _restore(adapter, optimizer, resume)
    first = 0 if resume is None else resume.step
    per_epoch, last = len(epoch_batches(examples, training.batch_size, seed, 0)), max(training.checkpoint_epochs)
    multiplier = schedules.multiplier(training, training.lr, per_epoch * training.epochs, per_epoch)
    log = _LossLog(config.name, seed, per_epoch * last, on_step)
    step = 0
    for epoch in range(1, last + 1):
        for samples in epoch_batches(examples, training.batch_size, seed, epoch - 1):
            if step >= first:
                batch = draw_batch(base, examples, samples, seed, step, training)
                for group in optimizer.param_groups:
                    group["lr"] = training.lr * multiplier(step) * group["ratio"]
                seen = adapters.for_step(adapter, seed, step)
                seen = regularised.dropped(base.components, seen, training, seed, step)
                with diffusion.recomputing(base) if recompute else nullcontext():
                    log.add(step, _update(base, seen, apart, params, optimizer, batch.parts(micro_batch), training))
                if training.scale_weight_norms:
                    regularised.within_norm(base.components, adapter, training.scale_weight_norms)
            step += 1
        if epoch in training.checkpoint_epochs and step > first:
            yield _trained(adapter, optimizer, epoch, step, log)


def encode_images(
    base: BaseModel, dataset_images: Sequence[TrainingImage], resolution: int
) -> tuple[EncodedImage, ...]:
    """One frozen latent of each image in its aspect-ratio bucket.

    The draw depends on concept and file name, neither on the training seed nor on the other images.
    """
    encoded = []
    for image in dataset_images:
        picture = images.read(image.path)
        width, height = datasets.bucket_size(picture.shape[1], picture.shape[0], resolution)
        base.latent_shape(width, height)  # refuses sizes that the autoencoder cannot take
        fitted = images.fit(picture, width, height)
        seed = derive_seed("latent", image.concept_id, image.path.name)
        # One by one: the encoder is bound by arithmetic, and rounding does not depend on what shares a batch.
        latents = diffusion.encode_latents(base, fitted[None], [seed])[0]
        sizes = sizes_of(picture.shape[:2], images.cut_at(picture, width, height), (height, width))
        encoded.append(EncodedImage(latents, sizes.to(base.device)))
    return tuple(encoded)


def epoch_batches(examples: Examples, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The samples of each step of an epoch (counted from 0), every sample once.

    A batch holds one bucket; the last one of a bucket may be smaller, as in kohya's trainer.
    """
    rng = np.random.default_rng(derive_seed("order", seed, epoch))
    shapes = [tuple(image.latents.shape) for image in examples.images]
    buckets: dict[tuple[int, ...], list[int]] = {}
    for sample, image in enumerate(examples.image_of):
        buckets.setdefault(shapes[image], []).append(sample)
    batches = []
    for shape in sorted(buckets):
        shuffled = rng.permutation(buckets[shape])
        batches += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def draw_batch(
    base: BaseModel, examples: Examples, samples: np.ndarray, seed: int, step: int, training: TrainingConfig
) -> Batch:
    """Latents, captions, noise and timesteps of a step; each sample's draws come from a generator of its own.

    What is drawn for all comes first, in one order: a setting that needs more draws changes none of the others'.
    """
    image_of = examples.image_of[samples]
    tokens = examples.tokens[torch.from_numpy(image_of)]
    noise, seen_noise, timesteps = [], [], []
    for row, sample in enumerate(samples.tolist()):
        rng = torch.Generator().manual_seed(derive_seed("training", seed, step, sample))
        timesteps.append(torch.randint(len(base.alphas_cumprod), (), generator=rng))
        # Drawn at any rate of dropout, so that the rate does not change the noise.
        if torch.rand((), generator=rng) < training.caption_dropout:
            tokens[row] = examples.no_tokens
        drawn = torch.randn(examples.images[image_of[row]].latents.shape, generator=rng)
        if training.noise_offset:
            drawn = drawn + training.noise_offset * torch.randn((len(drawn), 1, 1), generator=rng)
        noise.append(drawn)
        if training.input_perturbation:
            drawn = drawn + training.input_perturbation * torch.randn(drawn.shape, generator=rng)
        seen_noise.append(drawn)
    return Batch(
        latents=torch.stack([examples.images[image].latents for image in image_of]),
        sizes=torch.stack([examples.images[image].sizes for image in image_of]),
        tokens=tokens,
        noise=torch.stack(noise).to(base.device),
        seen_noise=torch.stack(seen_noise).to(base.device),
        timesteps=torch.stack(timesteps).to(base.device),
    )


def _examples(
    base: BaseModel, dataset_images: Sequence[TrainingImage], encoded: Sequence[EncodedImage], max_tokens: int
) -> Examples:
    repeats = [image.repeats for image in dataset_images]
    return Examples(
        images=tuple(encoded),
        tokens=diffusion.tokenize(base, [image.caption for image in dataset_images], max_tokens),
        no_tokens=diffusion.tokenize(base, [""], max_tokens)[0],
        image_of=np.repeat(np.arange(len(dataset_images)), repeats),
    )


def _optimizer(adapter: Adapter, training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer of a fresh adapter with a group for each learning rate; "ratio" is the group's to the config's.

    LoRA+ (Hayou et al. 2024) has a rate of its own for factors that start at zero beside others that do not: of LoRA
    lora_up.
    """
    text_ratio = 1.0 if training.text_encoder_lr is None else training.text_encoder_lr / training.lr
    groups: dict[float, list[torch.Tensor]] = {}
    for name, params in adapter.modules.items():
        part = 1.0 if name.startswith("unet.") else text_ratio
        tensors = adapters.trained(params)
        has_first = training.lora_plus_ratio != 1 and any(bool(tensor.any()) for tensor in tensors)
        for tensor in tensors:
            is_second = has_first and not tensor.any()
            groups.setdefault(part * (training.lora_plus_ratio if is_second else 1.0), []).append(tensor)
    rows = [{"params": params, "ratio": ratio} for ratio, params in groups.items()]
    return optimizer_of(rows, training, device)


def _update(
    base: BaseModel,
    adapter: Adapter,
    apart: frozenset[str],
    params: list[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    parts: list[Batch],
    training: TrainingConfig,
) -> torch.Tensor:
    """One step of the optimizer on the parts of a batch together; returns the loss, still on the device."""
    optimizer.zero_grad(set_to_none=True)
    size = sum(map(len, parts))
    loss = sum(_backward(base, adapter, apart, part, training, len(part) / size) for part in parts)
    torch.nn.utils.clip_grad_norm_(params, training.max_grad_norm)
    optimizer.step()
    return loss


def _backward(
    base: BaseModel, adapter: Adapter, apart: frozenset[str], batch: Batch, training: TrainingConfig, share: float
) -> torch.Tensor:
    """Add the gradient of that share of the loss."""
    alphas = losses.zero_terminal(base.alphas_cumprod) if training.zero_terminal_snr else base.alphas_cumprod

    def forward_and_back() -> torch.Tensor:
        texts = diffusion.embed_tokens(base, batch.tokens)
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
        each = losses.sample_losses(training, *prediction, batch.timesteps, alphas, base.predicts_velocity)
        loss = each.mean() * share
        loss.backward()
        return loss.detach()

    with adapters.run_apart(base.components, adapter, apart) as others:
        return diffusion.with_weights(base, adapters.merged_weights(base.components, others), forward_and_back)


class _LossLog:
    """Losses, read one step late: waiting for a step that was just launched would leave a GPU idle."""

    def __init__(self, config_name: str, seed: int, total: int, on_step: OnStep | None) -> None:
        self.total = total
        self._name = f"Config '{config_name}', seed {seed}"
        self._on_step = on_step
        self._pending: tuple[int, torch.Tensor] | None = None
        self._losses: list[float] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        self._read()
        self._pending = (step, loss)

    def take(self) -> tuple[float, ...]:
        """All losses since the last call."""
        self._read()
        losses, self._losses = tuple(self._losses), []
        return losses

    def require_finite(self, adapter: Adapter, step: int) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in adapters.parameters(adapter)):
            raise TrainingDiverged(f"{self._name}: the weights are not finite after step {step}; lower its lr.")

    def _read(self) -> None:
        if self._pending is None:
            return
        step, tensor = self._pending
        loss, self._pending = tensor.item(), None
        if not np.isfinite(loss):
            raise TrainingDiverged(
                f"{self._name}: the loss is {loss} at step {step + 1} of {self.total}; lower its lr."
            )
        self._losses.append(loss)
        if self._on_step is not None:
            self._on_step(step + 1, self.total, loss)


def _trained(adapter: Adapter, optimizer: torch.optim.Optimizer, epoch: int, step: int, log: _LossLog) -> Trained:
    losses = log.take()
    saved = adapters.copy_to(adapter, "cpu")
    log.require_finite(saved, step)
    # Copies: the optimizer goes on changing its own in place.
    state = TrainState(step, saved.modules, _on_cpu(optimizer.state_dict()))
    return Trained(epoch, step, saved, losses, state)


def _restore(adapter: Adapter, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    with torch.no_grad():
        for name, params in adapter.modules.items():
            for suffix, tensor in params.items():
                tensor.copy_(state.params[name][suffix])
    # load_state_dict keeps tensors that fit; without a copy, training would change the caller's state.
    optimizer.load_state_dict(copy.deepcopy(dict(state.optimizer)))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
