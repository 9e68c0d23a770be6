"""What networks take, counted on the meta device: floating-point operations (2 for a multiply-add), and memory.

Matrix products, convolutions and attention count, as in torch.utils.flop_counter; what is elementwise does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lorabench import adapters
from lorabench.adapters import Adapter
from lorabench.bases import UNET, Kind
from lorabench.components import EncoderSpec
from lorabench.config import Run
from lorabench.layers import Components, module_of
from lorabench.records import TrainingConfig


@dataclass(frozen=True)
class Forward:
    """A forward pass of one sample."""

    flop: float
    layers: Mapping[str, float] = field(default_factory=dict)  # path of a module -> what happens in it
    products: float = 0.0  # of the whole: of activations with activations, as attention has them, in no layer's own
    width: int = 0  # of the answer's last dimension
    kept: int = 0  # numbers that its layers answer with: about what a backward pass needs
    widest: int = 0  # numbers that one layer reads and answers with, at the most


@dataclass(frozen=True)
class Drawer:
    """The forward passes of a base model: of one latent, one chunk of a text, one picture."""

    components: Components  # the modules that are trained, on the meta device
    unet: Forward
    texts: Mapping[str, Forward]  # of each text encoder
    encode: Forward
    decode: Forward
    weights: int  # numbers in all of them
    chunk: int  # tokens that the text encoders read at once, beside the start and the end token

    @property
    def text_flop(self) -> float:
        """Of one chunk through all text encoders."""
        return sum(each.flop for each in self.texts.values())

    def chunks(self, tokens: int) -> int:
        """How many make up a text of so many tokens."""
        return max(1, -(-tokens // self.chunk))


def forward(network: Callable[..., object], root: nn.Module | None, *inputs: Tensor, **named: object) -> Forward:
    """Count a call; `root` is the module whose layers are told apart, where there is one."""
    sizes: list[tuple[int, int]] = []

    def look(_: nn.Module, given: tuple[object, ...], answer: object) -> None:
        if isinstance(answer, Tensor):
            sizes.append((sum(each.numel() for each in given if isinstance(each, Tensor)), answer.numel()))

    leaves = {path: module for path, module in (root.named_modules() if root else ()) if not any(module.children())}
    hooks = [module.register_forward_hook(look) for module in leaves.values()]
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            answer = network(*inputs, **named)
    finally:
        for hook in hooks:
            hook.remove()
    counts = counter.get_flop_counts()
    layers = {str(name).partition(".")[2]: float(sum(each.values())) for name, each in counts.items()}
    return Forward(
        flop=float(counter.get_total_flops()),
        layers=layers,
        products=counter.get_total_flops() - sum(layers.get(path, 0.0) for path in leaves),
        width=answer.shape[-1] if isinstance(answer, Tensor) else 0,
        kept=sum(out for _, out in sizes),
        widest=max((given + out for given, out in sizes), default=0),
    )


def drawer(kind: Kind, components: Components, autoencoder: nn.Module, side: int) -> Drawer:
    """Count a base model's networks at pictures of that side; prompts of one chunk of the text encoders."""
    unet, encoders = components[UNET], {name: components[name] for name in kind.text_encoders}
    factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    length = next(iter(encoders.values())).config.max_position_embeddings
    empty = {"device": "meta"}
    latent = torch.empty(1, unet.config.in_channels, side // factor, side // factor, **empty)
    step, ids = torch.zeros(1, **empty), torch.zeros(1, length, dtype=torch.int64, **empty)
    picture, sizes = torch.empty(1, 3, side, side, **empty), torch.empty(1, 6, **empty)
    texts = kind.encode(encoders, ids[:, None].expand(1, len(encoders), length), 1)
    told = {"encoder_hidden_states": texts.states, **kind.conditions(texts, sizes)}
    return Drawer(
        components=components,
        unet=forward(unet, unet, latent, step, return_dict=False, **told),
        texts={name: forward(encoder, encoder, ids) for name, encoder in encoders.items()},
        encode=forward(autoencoder.encode, autoencoder, picture),
        decode=forward(autoencoder.decode, autoencoder, latent),
        weights=sum(each.numel() for module in (*components.values(), autoencoder) for each in module.parameters()),
        chunk=length - 2,
    )


def training(counted: Drawer, adapter: Adapter, chunks: int) -> float:
    """FLOP of a sample in a step: forward, backward through every layer, and the gradients of what is trained.

    A backward pass to the activations takes what the forward pass takes, and a product of two activations (attention)
    as much again, since both have gradients. The gradient of a weight that an update is merged into takes what its
    layer takes; an update that runs beside its frozen weight takes three passes of its own multiplications instead. A
    text encoder reads `chunks` at a time, and has a backward pass where it is trained. What it takes to make dW is left
    out: it is done once a step, not for each sample and position. Latents are cached.
    """
    beside = adapters.cheaper_apart(counted.components, adapter)
    parts = {name.split(".", 1)[0] for name in adapter.modules}
    total = 2 * counted.unet.flop + counted.unet.products + chunks * counted.text_flop
    total += sum(chunks * (each.flop + each.products) for name, each in counted.texts.items() if name in parts)
    for name in adapter.modules:
        part, path = name.split(".", 1)
        flop = (
            counted.unet.layers.get(path, 0.0) if part == UNET else chunks * counted.texts[part].layers.get(path, 0.0)
        )
        if name in beside:
            weight = module_of(counted.components, name).weight
            update = adapters.apart_of(counted.components, adapter, name)
            flop *= 3 * update.multiplications / weight.numel()
        total += flop
    return total


def encoder(spec: EncoderSpec, weights: str, side: int) -> Forward | None:
    """A picture of that side through an encoder; None where neither its weights nor its published network are known.

    An encoder with a folder of its own, whose architecture may be any, is loaded and given a picture.
    """
    own = Path(weights) if weights else None
    if spec.outline and (own is None or own.suffix == ".safetensors"):
        outline = spec.outline()
        return forward(outline.network, None, torch.empty(1, 3, outline.side, outline.side, device="meta"))
    if own is None or not own.exists():
        return None
    loaded = spec.load(own, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        features = loaded.encode_images([np.zeros((side, side, 3), np.uint8)], spec.resize_modes[0])
    return Forward(float(counter.get_total_flops()), width=features.shape[1])


# Of the activations of SD1.5's U-Net, what is kept or computed at one time where they are computed again.
RECOMPUTED = 0.1


@dataclass(frozen=True)
class Memory:
    """Bytes, roughly."""

    fixed: float  # weights, what is trained, its gradient and moments
    activations: float  # of a batch


def training_memory(counted: Drawer, adapter: Adapter, training: TrainingConfig, run: Run) -> Memory:
    """Of a training: all weights in float32, and with half precision the casts that the backward pass needs; of what is
    trained the value, its gradient and AdamW's two moments; the merged copy of every weight whose update does not run
    beside it; what layers answered, of a batch or a piece of it."""
    beside = adapters.cheaper_apart(counted.components, adapter)
    merged = sum(module_of(counted.components, name).weight.numel() for name in adapter.modules if name not in beside)
    numbers = 4 if run.precision == "float32" else 2
    casts = 0 if numbers == 4 else numbers * counted.weights
    at_once = min(training.batch_size, run.micro_batch or training.batch_size)
    trained = 10 if training.optimizer == "adamw8bit" else 16
    trained += 4 if at_once < training.batch_size else 0  # a piece's gradient beside the sum
    kept = counted.unet.kept + counted.chunks(training.max_tokens) * sum(each.kept for each in counted.texts.values())
    kept *= RECOMPUTED if run.gradient_checkpointing else 1
    fixed = 4.0 * (counted.weights + merged) + casts + adapters.count_parameters(adapter) * trained
    return Memory(fixed, float(kept * at_once * numbers))


def drawing_memory(counted: Drawer, batch: int, decoded: int, half: bool) -> Memory:
    """Of drawing: all weights in float32, with `half` copies in float16 beside them; the widest layer of U-Net (two
    passes with guidance) or decoder."""
    numbers = max(2 * batch * counted.unet.widest, decoded * counted.decode.widest)
    return Memory((6.0 if half else 4.0) * counted.weights, float(numbers * (2 if half else 4)))
