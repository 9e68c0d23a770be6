"""Models of a study, loaded once a process."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from lorabench import adapters, base_models, components, diffusion, formats, images
from lorabench.adapters import Adapter
from lorabench.base_models import Base
from lorabench.components import Encoder, EncoderSpec
from lorabench.config import Study
from lorabench.errors import UserError
from lorabench.hashes import sha256_of
from lorabench.layers import Components
from lorabench.pipeline.places import WEIGHTS_FILE
from lorabench.pipeline.plan import Plan
from lorabench.records import Checkpoint, Dataset, SampleConfig
from lorabench.sampler import Sampler, sampler_of
from lorabench.stages import optimizers, watching
from lorabench.stages.samples import EncodedImage, encode_images


def base_model(plan: Plan, base: Base | None = None) -> base_models.BaseModel:
    """The weights of the study's base model, or of another, loaded once a process for as long as no other is."""
    base = base or plan.base
    key = (base.id, plan.device, plan.study.run.precision)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = base_models.load_base(base, torch.device(plan.device), getattr(torch, plan.study.run.precision))
    return _loaded[key]


_loaded: dict[tuple[str, str, str], base_models.BaseModel] = {}


def sampler(plan: Plan, checkpoint: Checkpoint) -> Sampler:
    """What draws a checkpoint, made once a process for as long as no other base model is drawn with."""
    base, compiled = base_model(plan, plan.base_for(checkpoint)), plan.study.run.compile
    made = _samplers.get(base.id)
    if made is None or made.base is not base or made.is_compiled != compiled:
        _samplers.clear()
        _samplers[base.id] = made = sampler_of(base, compiled)
    return made


_samplers: dict[str, Sampler] = {}


def weights_of(plan: Plan, checkpoint: Checkpoint) -> Path:
    """The weights file of a checkpoint: given, or made by this study's training or merging."""
    folder = plan.places.weights(checkpoint)
    return plan.folder.intact(folder, WEIGHTS_FILE) if folder else checkpoint.weights


def adapter_of(plan: Plan, checkpoint: Checkpoint, base: base_models.BaseModel) -> Adapter | None:
    """Of a checkpoint; None of the base model."""
    if checkpoint.is_base:
        return None
    return formats.load_adapter(weights_of(plan, checkpoint), base.components, plan.study.unused_keys)[0]


@contextmanager
def merged(
    plan: Plan,
    checkpoint: Checkpoint,
    base: base_models.BaseModel,
    adapter: Adapter | None,
    into: Components | None = None,
) -> Iterator[base_models.BaseModel]:
    """Inside, the model (or the modules `into`, see `adapters.swapped`) has a checkpoint's weights, and those of the
    adapter that is merged beside it; yields the one that knows their words."""
    scaled = [] if adapter is None else [(adapter, checkpoint.scale)]
    beside = plan.beside(checkpoint)
    if beside is not None:
        scaled.append((_companion(plan, beside[0], base), beside[1]))
    # At no merge ratio is half a word; at 0 all is the base model's.
    words = {word: vectors for each, scale in reversed(scaled) if scale for word, vectors in each.words.items()}
    with adapters.swapped(base.components, *scaled, into=into), diffusion.with_words(base, words) as knowing:
        yield knowing


def _companion(plan: Plan, file: str, base: base_models.BaseModel) -> Adapter:
    """Read once a process: it goes with one checkpoint after the other."""
    key = (plan.companions[file], id(base))
    if key not in _companions:
        _companions.clear()
        _companions[key] = formats.load_adapter(Path(file), base.components, plan.study.unused_keys)[0]
    return _companions[key]


_companions: dict[tuple[str, int], Adapter] = {}


def encoded_images(plan: Plan, pictures: Dataset, config: SampleConfig) -> tuple[EncodedImage, ...]:
    """Those of the plan's pictures: the same for all trainings that cut them alike, so encoded once a process."""
    how = (config.resolution, config.bucket_step, config.flip, config.random_crop, config.masked_loss)
    of_classes = plan.class_images.fingerprint if plan.class_images else ""
    key = (plan.base.id, plan.dataset.fingerprint, of_classes, how)
    if key not in _encoded_images:
        _encoded_images.clear()
        _encoded_images[key] = encode_images(base_model(plan), plan.training_images, config)
    wanted, every = (
        {(image.concept_id, image.path) for image in pictures.images},
        zip(plan.training_images, _encoded_images[key]),
    )
    return tuple(encoded for image, encoded in every if (image.concept_id, image.path) in wanted)


_encoded_images: dict[tuple[Any, ...], tuple[EncodedImage, ...]] = {}


def encoder(plan: Plan, name: str) -> Encoder:
    choice = plan.study.encoders.get(name)
    return _load_encoder(name, choice.weights if choice else "", plan.device)


@functools.lru_cache(maxsize=8)
def _load_encoder(name: str, weights: str, device: str) -> Encoder:
    spec: components.EncoderSpec = components.find("encoders", name)
    return spec.load(Path(weights) if weights else None, torch.device(device))


def check_inputs(plan: Plan) -> Plan:
    """Read every training picture and load each encoder once, so that what is broken shows before the hours of work.

    Published weights are downloaded by that: the answer is the plan with the ids of what was loaded. UserError too
    where a training that is still to do needs a package that is not installed.
    """
    for run in plan.runs:
        milestones = run.config.training.milestones
        places = [
            (plan.places.checkpoint(run, milestone), plan.keys.training(run, milestone)) for milestone in milestones
        ]
        if not all(plan.folder.holds(*place) for place in places):
            optimizers.require(run.config.training)
            if plan.study.run.tensorboard:
                watching.require_events()
    for image in plan.pictures:
        images.read(image.path)
    ids = {}
    for name in plan.encoder_ids:
        choice = plan.study.encoders.get(name)
        weights = Path(choice.weights) if choice and choice.weights else None
        loaded = plan.measuring.encoder(name).load(weights, torch.device("cpu"))
        ids[name] = encoder_id(plan.study, name)
        found, expected = (_HASH.search(id_) for id_ in (loaded.id, ids[name]))
        if weights is None and found and expected and found[0] != expected[0]:
            raise UserError(
                f"Encoder '{name}' has loaded other weights ({loaded.id}) than lie in the hub's cache ({ids[name]}); "
                "if they have just changed there, start again."
            )
    return plan if ids == plan.encoder_ids else replace(plan, encoder_ids=ids)


_HASH = re.compile(r"(?<=-)[0-9a-f]{12}(?=-v\d+$)")


def encoder_id(study: Study, name: str) -> str:
    """Name and hash of the weights' files: the study's, or the published ones in the hub's cache.

    "unfetched" stands for published weights that are not there yet: `check_inputs` downloads them. "published" for an
    encoder that has no weights, or whose library alone knows their file (liqe, maniqa).
    """
    choice = study.encoders.get(name)
    spec: EncoderSpec = components.find("encoders", name)
    if choice is None or not choice.weights:
        if not spec.published:
            return f"{name}-published-v{spec.version}"
        repository, *names = spec.published
        cached = (try_to_load_from_cache(repository, file) for file in names)
        file = next((file for file in cached if isinstance(file, str)), None)
        return f"{name}-{sha256_of(Path(file))[:12] if file else 'unfetched'}-v{spec.version}"
    path = Path(choice.weights)
    if not path.exists():
        raise UserError(
            f"Weights of encoder '{name}' do not exist: {path} (study '{study.name}', encoders.{name}.weights)."
        )
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()
    return f"{name}-{digest[:12]}-v{spec.version}"
