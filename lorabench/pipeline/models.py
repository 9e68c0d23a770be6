"""Models of a study, loaded once a process."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from lorabench import components, diffusion, images
from lorabench.components import Encoder
from lorabench.pipeline.plan import MetricRequest, Plan
from lorabench.stages import train


def base_model(plan: Plan) -> diffusion.BaseModel:
    return _load_base(plan.study.base, plan.device, plan.study.run.precision)


def latents(plan: Plan) -> tuple[torch.Tensor, ...]:
    """The pictures' latents: the same for every training of a study, so each process encodes them once."""
    key = (plan.base_id, plan.dataset.fingerprint, plan.study.training.resolution)
    if key not in _cached_latents:
        _cached_latents.clear()
        _cached_latents[key] = train.cache_latents(
            base_model(plan), plan.dataset.images, plan.study.training.resolution
        )
    return _cached_latents[key]


_cached_latents: dict[tuple[str, str, int], tuple[torch.Tensor, ...]] = {}


@functools.lru_cache(maxsize=1)
def _load_base(source: str, device: str, precision: str) -> diffusion.BaseModel:
    return diffusion.load_base(source, torch.device(device), getattr(torch, precision))


def encoder(plan: Plan, name: str) -> Encoder:
    choice = plan.study.encoders.get(name)
    return _load_encoder(name, choice.weights if choice else "", plan.device)


@functools.lru_cache(maxsize=8)
def _load_encoder(name: str, weights: str, device: str) -> Encoder:
    spec: components.EncoderSpec = components.find("encoders", name)
    return spec.load(Path(weights) if weights else None, torch.device(device))


def check_inputs(plan: Plan) -> None:
    """Read every training picture and load each encoder once, so that what is broken shows before the hours of work."""
    for image in plan.dataset.images:
        images.read(image.path)
    for name in plan.encoder_ids:
        choice = plan.study.encoders.get(name)
        plan.encoder_spec(name).load(Path(choice.weights) if choice and choice.weights else None, torch.device("cpu"))


def resize_mode(plan: Plan, encoder_name: str) -> str:
    request: MetricRequest = next(request for request in plan.requests if request.encoder == encoder_name)
    return request.resize
