"""What a kind of base models has of its own: its files, how it reads a prompt, what its U-Net is told beside it.

Kinds are looked up where no network is: torch is imported by what computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

UNET = "unet"
ZEROES = "force_zeros_for_empty_prompt"  # an option of an index: no negative prompt is zeros, not the empty text
# The file of weights in a part's folder, by the library that writes it.
_WEIGHTS = {"diffusers": "diffusion_pytorch_model.safetensors", "transformers": "model.safetensors"}


@dataclass(frozen=True)
class Texts:
    """Prompts as a U-Net reads them, a row each; float32, on the base model's device."""

    states: Tensor  # [n, tokens, d]: a vector a token
    pooled: Tensor | None = None  # [n, p]: one of the whole prompt, of kinds whose U-Net reads it

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: slice) -> Texts:
        return self._each(lambda tensor: tensor[rows])

    def repeated(self, times: int) -> Texts:
        """All rows so many times over."""
        return self._each(lambda tensor: tensor.repeat(times, *[1] * (tensor.dim() - 1)))

    def to(self, device: torch.device, dtype: torch.dtype) -> Texts:
        return self._each(lambda tensor: tensor.to(device, dtype))

    def zeros(self) -> Texts:
        return self._each(lambda tensor: tensor.new_zeros(tensor.shape))

    @staticmethod
    def joined(parts: Sequence[Texts]) -> Texts:
        """The rows of all parts, which are of one number of tokens, in order."""
        import torch

        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Texts(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Texts:
        return Texts(change(self.states), None if self.pooled is None else change(self.pooled))


@dataclass(frozen=True)
class Kind:
    """A kind of base models."""

    title: str  # for sentences
    pipeline: str  # the class of diffusers that a folder of this kind names
    parts: Mapping[str, tuple[str, str]]  # folder -> library and class that load it, and nothing that a folder names
    index: Mapping[str, Any]  # what else model_index.json says for a pipeline to be loaded without more parts
    config_source: str  # repository of the hub with the configs and tokenizers that a single file lacks
    in_file: str  # regular expression of a key that only single files of this kind have
    # Text encoders by name, ids int64 [n, encoders, length], clip skip (1: the layer that this kind reads) -> texts.
    encode: Callable[[Mapping[str, nn.Module], Tensor, int], Texts]
    # Texts and sizes [n, 6], see `sizes_of` -> what the U-Net is given by name.
    conditions: Callable[[Texts, Tensor], Mapping[str, Any]]
    options: Mapping[str, bool] = field(default_factory=dict)  # of model_index.json that change pictures: defaults
    upcasts: bool = False  # whether its autoencoder overflows in float16 where its config says force_upcast

    @cached_property
    def weights(self) -> Mapping[str, str]:
        """The parts that have weights, and the usual name of their file."""
        return {part: _WEIGHTS[library] for part, (library, name) in self.parts.items() if _has_weights(name)}

    @cached_property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(part for part in self.weights if part.startswith("text_encoder"))

    def tokenizer_of(self, text_encoder: str) -> str:
        """The folder of a text encoder's tokenizer: "tokenizer_2" of "text_encoder_2"."""
        return text_encoder.replace("text_encoder", "tokenizer")

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """Files that a folder needs beside its weights and their configs."""
        tokenizers = [self.tokenizer_of(name) for name in self.text_encoders]
        words = [f"{name}/{file}" for name in tokenizers for file in ("vocab.json", "merges.txt")]
        return "model_index.json", "scheduler/scheduler_config.json", *words

    def full_index(self, options: Mapping[str, bool]) -> dict[str, Any]:
        """A model_index.json of these parts alone."""
        parts = {name: list(class_) for name, class_ in self.parts.items()}
        return {"_class_name": self.pipeline, **parts, **self.index, **options}


def sizes_of(original: tuple[int, int], corner: tuple[int, int], shown: tuple[int, int]) -> Tensor:
    """What a U-Net may be told of a picture, float32 [6], in pixels (SDXL, 2.2).

    Height and width of the picture before it was resized, top and left of what was cut out of it after, and height and
    width of that.
    """
    import torch

    return torch.tensor([*original, *corner, *shown], dtype=torch.float32)


def _has_weights(class_: str) -> bool:
    return not class_.endswith(("Tokenizer", "Scheduler"))
