"""What a step of training sees: pictures in their buckets, captions, noise and timesteps.

Every draw depends on (seed, step, sample), and on what it is for: no setting changes the draws of another, and the
algorithm changes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from lorabench import datasets, diffusion, images
from lorabench.base_models import BaseModel
from lorabench.bases import sizes_of
from lorabench.records import SampleConfig, TrainingConfig, TrainingImage
from lorabench.seeds import derive_seed


@dataclass(frozen=True)
class EncodedImage:
    """A picture cut to its bucket, on the base model's device; what a config does not ask for is None."""

    latents: torch.Tensor  # [c, h, w]
    sizes: torch.Tensor  # [6]: `bases.sizes_of` the picture and its cut
    mirrored: torch.Tensor | None = None  # latents of the picture left to right
    mask: torch.Tensor | None = None  # [1, h, w]: how much each place counts
    whole: np.ndarray | None = None  # uint8 [H, W, 3 or 4]: the picture resized to cover its bucket, to cut anywhere


@dataclass(frozen=True)
class Batch:
    """Samples of one bucket, ready for the loss; on the base model's device, but for the tokens."""

    latents: torch.Tensor  # [n, c, h, w]
    sizes: torch.Tensor  # [n, 6]
    tokens: torch.Tensor  # int64 [n, text encoders, chunks, length]
    noise: torch.Tensor  # [n, c, h, w]
    seen_noise: torch.Tensor  # [n, c, h, w]: what is put into the picture, where it is not the noise to predict
    timesteps: torch.Tensor  # int64 [n]
    mask: torch.Tensor  # [n, 1, h, w]

    def __len__(self) -> int:
        return len(self.latents)

    def parts(self, most: int | None) -> list[Batch]:
        """The batch in pieces of at most so many samples; None = in one."""
        if most is None or most >= len(self):
            return [self]
        return [Batch(*piece) for piece in zip(*(each.split(most) for each in vars(self).values()))]


@dataclass(frozen=True)
class Examples:
    """A data set as training reads it. A sample is one repeat of an image."""

    images: tuple[EncodedImage, ...]
    captions: tuple[str, ...]  # of each image
    tokens: torch.Tensor  # int64 [images, text encoders, chunks, length]
    no_tokens: torch.Tensor  # int64 [text encoders, chunks, length]: the empty caption
    image_of: np.ndarray  # int [samples]


def encode_images(
    base: BaseModel, dataset_images: Sequence[TrainingImage], config: SampleConfig
) -> tuple[EncodedImage, ...]:
    """One frozen latent of each image in its aspect-ratio bucket, and what the config asks for besides.

    The draw depends on concept and file name, neither on the training seed nor on the other images.
    """
    encoded = []
    for image in dataset_images:
        picture = images.read(image.path)
        width, height = datasets.bucket_size(
            picture.shape[1], picture.shape[0], config.resolution, config.bucket_step or None
        )
        base.latent_shape(width, height)  # refuses sizes that the autoencoder cannot take
        whole = images.covering(picture, width, height)
        corner = images.cut_at(picture, width, height)
        fitted = images.cut(whole, corner, width, height)
        seed = derive_seed("latent", image.concept_id, image.path.name)
        # One by one: the encoder is bound by arithmetic, and rounding does not depend on what shares a batch.
        latents = diffusion.encode_latents(base, fitted[None], [seed])[0]
        sizes = sizes_of(picture.shape[:2], corner, (height, width)).to(base.device)
        mask = images.opacity(image.path) if config.masked_loss else None
        alpha = None if mask is None else images.covering(mask, width, height)
        encoded.append(
            EncodedImage(
                latents,
                sizes,
                diffusion.encode_latents(base, fitted[None, :, ::-1], [seed])[0] if config.flip else None,
                None if alpha is None else _mask(images.cut(alpha, corner, width, height), latents),
                (whole if alpha is None else np.concatenate([whole, alpha[..., :1]], axis=2))
                if config.random_crop
                else None,
            )
        )
    return tuple(encoded)


def _mask(opacity: np.ndarray, latents: torch.Tensor) -> torch.Tensor:
    """Means of uint8 [H, W, n]'s first channel over what each place of the latents stands for, in [0, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(opacity[..., 0])).float()[None, None] / 255
    return functional.interpolate(pixels, size=latents.shape[1:], mode="area")[0].to(latents.device)


def examples_of(
    base: BaseModel, dataset_images: Sequence[TrainingImage], encoded: Sequence[EncodedImage], max_tokens: int
) -> tuple[Examples, Examples | None]:
    """Pictures with what they are encoded as, ready to draw from: those of concepts, and those of classes, if any."""
    pairs = list(zip(dataset_images, encoded, strict=True))
    own, of_classes = ([each for each in pairs if each[0].is_class_image == which] for which in (False, True))
    return _examples(base, own, max_tokens), _examples(base, of_classes, max_tokens) if of_classes else None


def _examples(base: BaseModel, pairs: Sequence[tuple[TrainingImage, EncodedImage]], max_tokens: int) -> Examples:
    captions = tuple(image.caption for image, _ in pairs)
    return Examples(
        images=tuple(encoded for _, encoded in pairs),
        captions=captions,
        tokens=diffusion.tokenize(base, captions, max_tokens),
        no_tokens=diffusion.tokenize(base, [""], max_tokens)[0],
        image_of=np.repeat(np.arange(len(pairs)), [image.repeats for image, _ in pairs]),
    )


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
    """Latents, captions, noise and timesteps of a step; each sample's draws come from generators of its own."""
    image_of = examples.image_of[samples]
    tokens = examples.tokens[torch.from_numpy(image_of)]
    seen, noise, seen_noise, timesteps = [], [], [], []
    for row, sample in enumerate(samples.tolist()):
        rng = _generator("training", seed, step, sample)
        timesteps.append(torch.randint(len(base.alphas_cumprod), (), generator=rng))
        image = examples.images[image_of[row]]
        # Drawn at any rate of dropout, so that the rate does not change the noise.
        if torch.rand((), generator=rng) < training.caption_dropout:
            tokens[row] = examples.no_tokens
        elif training.shuffle_captions or training.tag_dropout:
            text = varied(examples.captions[image_of[row]], training, _generator("caption", seed, step, sample))
            tokens[row] = diffusion.tokenize(base, [text], training.max_tokens)[0]
        drawn = torch.randn(image.latents.shape, generator=rng)
        if training.noise_offset:
            drawn = drawn + training.noise_offset * torch.randn((len(drawn), 1, 1), generator=rng)
        noise.append(drawn)
        if training.input_perturbation:
            more = torch.randn(drawn.shape, generator=_generator("perturbation", seed, step, sample))
            drawn = drawn + training.input_perturbation * more
        seen_noise.append(drawn)
        is_mirrored = training.flip and bool(torch.rand((), generator=_generator("flip", seed, step, sample)) < 0.5)
        seen.append(_seen(base, image, training, is_mirrored, _generator("crop", seed, step, sample)))
    return Batch(
        latents=torch.stack([image.latents for image in seen]),
        sizes=torch.stack([image.sizes for image in seen]),
        tokens=tokens,
        noise=torch.stack(noise).to(base.device),
        seen_noise=torch.stack(seen_noise).to(base.device),
        timesteps=torch.stack(timesteps).to(base.device),
        mask=torch.stack([_whole_mask(image) for image in seen]),
    )


def draw_class_batch(base: BaseModel, examples: Examples, seed: int, step: int, training: TrainingConfig) -> Batch:
    """The class images of a step, in an order of their own, drawn apart from the batch beside them."""
    own = derive_seed("class images", seed)
    per_epoch = len(epoch_batches(examples, training.batch_size, own, 0))
    batches = epoch_batches(examples, training.batch_size, own, step // per_epoch)
    return draw_batch(base, examples, batches[step % per_epoch], own, step, training)


def _seen(
    base: BaseModel, image: EncodedImage, training: TrainingConfig, is_mirrored: bool, rng: torch.Generator
) -> EncodedImage:
    """A picture as one step sees it: mirrored, cut anywhere."""
    if training.random_crop:
        image = _cut_anywhere(base, image, is_mirrored, rng)
    elif is_mirrored:
        image = replace(image, latents=image.mirrored)
    return replace(image, mask=image.mask.flip(-1)) if is_mirrored and image.mask is not None else image


def _cut_anywhere(base: BaseModel, image: EncodedImage, is_mirrored: bool, rng: torch.Generator) -> EncodedImage:
    """Another cut of its bucket's size, encoded anew; the mask is of the cut as it lies, not mirrored."""
    height, width = (side * base.pixels_per_latent for side in image.latents.shape[1:])
    room = (image.whole.shape[0] - height, image.whole.shape[1] - width)
    corner = tuple(int(torch.randint(most + 1, (), generator=rng)) for most in room)
    cut = images.cut(image.whole, corner, width, height)
    picture = cut[:, ::-1, :3] if is_mirrored else cut[..., :3]
    latents = diffusion.encode_latents(base, picture[None], [rng])[0]
    original = tuple(image.sizes[:2].int().tolist())
    mask = _mask(cut[..., 3:], latents) if cut.shape[2] == 4 else None
    return replace(image, latents=latents, sizes=sizes_of(original, corner, (height, width)).to(base.device), mask=mask)


def _whole_mask(image: EncodedImage) -> torch.Tensor:
    return torch.ones_like(image.latents[:1]) if image.mask is None else image.mask


def varied(caption: str, config: SampleConfig, rng: torch.Generator) -> str:
    """A caption's tags, of which the first `keep_tokens` stay, and others may be dropped and change places.

    Tags stand between commas, as in kohya's trainer. Dropping changes nothing of the order that is drawn.
    """
    tags = [tag.strip() for tag in caption.split(",")]
    first, others = tags[: config.keep_tokens], tags[config.keep_tokens :]
    order = torch.randperm(len(others), generator=rng).tolist()
    stays = (torch.rand(len(others), generator=rng) >= config.tag_dropout).tolist()
    chosen = order if config.shuffle_captions else range(len(others))
    return ", ".join([*first, *(others[place] for place in chosen if stays[place])])


def _generator(use: str, seed: int, step: int, sample: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(use, seed, step, sample))
