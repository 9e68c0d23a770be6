"""The plug-in contracts, and how a plug-in is found by its name.

A plug-in is a file: `lorabench/metrics/vendi.py` holds the metric "vendi". The folder is the registry; other people's
packages add to it through the entry-point group `lorabench.<kind>`, and a study through `plugins = ["my_metric.py"]`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from lorabench.components.held_out import FOLLOWING
from lorabench.components.held_out import GAP as GAP
from lorabench.components.held_out import HELD_OUT as HELD_OUT
from lorabench.components.held_out import following as following
from lorabench.components.metrics import Metric as Metric
from lorabench.components.metrics import MetricInputs as MetricInputs
from lorabench.components.metrics import metric as metric
from lorabench.errors import UserError, unknown
from lorabench.records import AdapterConfig, Outcome, Task, TrainConfig

if TYPE_CHECKING:
    import torch

Kind = Literal["algorithms", "encoders", "formats", "metrics", "taggers"]
Params = dict[str, "torch.Tensor"]
Words = Mapping[str, Mapping[str, "torch.Tensor"]]  # a word -> its vectors [n, d] for each text encoder by name


# --- encoders --------------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Pictures (and, for CLIP, texts) to vectors; resizing and normalisation are its own business."""

    name: str
    id: str  # f"{name}-{architecture}-{weights' sha256[:12]}-v{preprocessing version}"
    resize_modes: tuple[str, ...]  # those it accepts for non-square pictures; first = default
    stored: bool  # False: features are too large to keep (Grams); they are recomputed when scoring

    def encode_images(self, images: Sequence[np.ndarray], resize: str) -> np.ndarray:
        """uint8 pictures [h, w, 3] of any size -> float32 [n, d]."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 [n, d] in the space of the pictures; NotImplementedError if it reads no text."""
        ...


@dataclass(frozen=True)
class Outline:
    """An encoder's network without its weights: what it takes is counted on it (pipeline.flops)."""

    network: Callable[[torch.Tensor], torch.Tensor]  # float [n, 3, side, side] -> [n, d], on the meta device
    side: int  # pixels


@dataclass(frozen=True)
class EncoderSpec:
    """How an encoder is made: `load(weights, device)`; weights None = the published ones from their hub."""

    name: str
    load: Callable[[Path | None, torch.device], Encoder]
    reads_text: bool = False
    stored: bool = True
    resize_modes: tuple[str, ...] = ("letterbox", "center_crop", "stretch")
    description: str = ""
    version: int = 1  # rises when its features change
    published: tuple[str, ...] = ()  # the hub's repository of its weights, and its files: the first there is read
    needs_weights: bool = False  # there are none to download: the study must name them
    outline: Callable[[], Outline] | None = None  # of the network with the published weights


def encoder(
    *,
    reads_text: bool = False,
    stored: bool = True,
    resize_modes: tuple[str, ...] = ("letterbox", "center_crop", "stretch"),
    published: tuple[str, ...] = (),
    needs_weights: bool = False,
    outline: Callable[[], Outline] | None = None,
) -> Callable[[Callable[[Path | None, torch.device], Encoder]], EncoderSpec]:
    """Turn a loader function, named after the encoder, into an EncoderSpec."""

    def wrap(load: Callable[[Path | None, torch.device], Encoder]) -> EncoderSpec:
        description = (load.__doc__ or "").strip()
        return EncoderSpec(
            load.__name__, load, reads_text, stored, resize_modes, description,
            published=published, needs_weights=needs_weights, outline=outline,
        )  # fmt: skip

    return wrap


# --- algorithms ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Apart:
    """An update that runs as layers of its own beside the frozen weight: the same answer as merged, at another cost."""

    multiplications: int  # for each position of the input
    activations: int  # numbers written for each position, the sum with the layer's own output included
    answer: Callable[[torch.Tensor, torch.nn.Module], torch.Tensor]  # (input, layer) -> what is added to its output


@dataclass(frozen=True)
class Algorithm:
    """One way to make a weight update: two pure functions, and what the analysis has to know about them.

    `init(weight, config, rng) -> params` and `delta_weight(params, weight, config) -> dW` shaped like the weight, alpha
    included, differentiable in the params. Params are named by the suffixes of LyCORIS files ("lora_up.weight", ...);
    those of an integer dtype are settings, saved but not trained.
    """

    name: str
    init: Callable[[torch.Tensor, AdapterConfig, torch.Generator], Params]
    delta_weight: Callable[[Params, torch.Tensor, AdapterConfig], torch.Tensor]
    hyperparameters: tuple[str, ...]  # of `records.HYPERPARAMETERS`: those it takes
    suffixes: tuple[str, ...]  # every name its params may have, or "x." for all that begin so; files are known by them
    capacity_from: Literal["dim", "factor", None] = None  # which of them sets its capacity; that one is required
    larger_is_more: bool = True  # dim: yes; factor: no
    version: int = 1  # rises when its weight updates change
    trains_bias: bool = False
    # (params, weight, bias, config) -> what a method that does not train the bias does to it; None = nothing.
    delta_bias: Callable[[Params, torch.Tensor, torch.Tensor, AdapterConfig], torch.Tensor | None] | None = None
    neutral_alpha: float | None = None  # what a file states where the config sets no alpha; None = dim, a scale of 1
    recognises: Callable[[Params], bool] = lambda params: True  # where suffixes alone do not tell: are these its own?
    for_step: Callable[[Params, AdapterConfig, torch.Generator], Params] | None = None  # the part that a step trains
    # (params, weight, config); None where the params must be merged.
    apart: Callable[[Params, torch.Tensor, AdapterConfig], Apart | None] | None = None
    # How another library's files call the params of a layer -> our name; its argument is that library's config.
    saved_names: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None
    sizes_of: Callable[[Params], Mapping[str, int]] = lambda params: {}  # dim and factor as a module's params show them
    of_module: Callable[[Params], Algorithm] | None = None  # of a mixture: the algorithm of one module's params
    description: str = ""


NORM_SUFFIXES = ("w_norm", "b_norm")
BIAS_SUFFIX = "diff_b"
SUFFIXES_OF_ANY = frozenset({*NORM_SUFFIXES, BIAS_SUFFIX})  # what every algorithm may train besides
SHARED_SUFFIX = "peft.shared."  # begins those of one tensor that all modules of a file refer to


def algorithm_using(suffixes: Collection[str], params: Params) -> Algorithm | None:
    """The algorithm whose files have all these suffixes, and which knows `params` as its own; of several the barest."""
    able = [
        algorithm
        for algorithm in (find("algorithms", name) for name in names("algorithms"))
        if all(_has(algorithm, suffix) for suffix in suffixes) and algorithm.recognises(params)
    ]
    return min(able, key=lambda algorithm: (len(algorithm.suffixes), algorithm.name), default=None)


def _has(algorithm: Algorithm, suffix: str) -> bool:
    return suffix in algorithm.suffixes or any(suffix.startswith(one) for one in algorithm.suffixes if one[-1] == ".")


# --- checkpoint formats ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """Where a weight update comes from, as far as its file says: else None or ""."""

    base: str = ""
    seed: int | None = None
    epoch: int | None = None
    step: int | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)  # concept id -> hash of what it was trained on


@dataclass(frozen=True)
class LoadedAdapter:
    """A weight update as a file holds it; which modules of a base model it means is found out later.

    A config read from another tool's file has NaN for an unknown lr.
    """

    algorithm: str
    config: TrainConfig | None
    modules: Mapping[str, Params]  # the file's own name of a module, without suffix -> params, float32, without alpha
    alphas: Mapping[str, float]  # by the same names; norms and full updates have none
    source: Path
    origin: Origin = Origin()
    metadata: Mapping[str, str] = field(default_factory=dict)  # as found
    words: Words = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what was assumed of the file, to be said


@dataclass(frozen=True)
class Format:
    """One kind of checkpoint file."""

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Sequence[str]], LoadedAdapter]  # without keys that match one of the glob patterns
    write: Callable[[Path, LoadedAdapter, torch.dtype], None] | None = None  # modules by dotted names
    description: str = ""


# --- taggers ---------------------------------------------------------------------------------------------------------


class Tagger(Protocol):
    """Says what pictures show."""

    def tags(self, pictures: Sequence[np.ndarray]) -> list[dict[str, float]]:
        """Of each of uint8 pictures [h, w, 3], of any size, its tags with their probabilities."""
        ...


@dataclass(frozen=True)
class TaggerSpec:
    """How a tagger is made: `load(weights, device)`."""

    name: str
    load: Callable[[Path | None, torch.device], Tagger]
    description: str = ""


# --- executors -------------------------------------------------------------------------------------------------------

Advance = Callable[[int], None]  # called with units of work done
Tell = Callable[[Any], None]  # called with what a task says of its progress, whatever that is


class Work(Protocol):
    """Does one task; picklable; raises when the task fails."""

    def __call__(self, task: Task, tell: Tell) -> None: ...

    def at(self, place: int) -> Work:
        """The same work as the process of this number, counted from 0, does it: on a device of its own, say."""
        ...


class Executor(Protocol):
    """Runs tasks in this process or others; a failing task does not stop the rest."""

    def start(self) -> None:
        """Make sure that work can be done, before any is; `run` does so too. UserError where it cannot."""
        ...

    def run(self, next_task: Callable[[], Task | None], tell: Tell) -> Iterator[Outcome]:
        """Do tasks as they come; yields the outcome of each as it ends, and calls `tell` in between.

        `next_task` says what can be done now, beside what is being done; after None it is asked again when an outcome
        has been taken. It ends when nothing is being done and there is nothing to do.
        """
        ...

    def close(self) -> None:
        """Stop at once whatever still runs."""
        ...


# --- finding them ----------------------------------------------------------------------------------------------------

_TYPES: dict[str, type] = {
    **{"algorithms": Algorithm, "encoders": EncoderSpec, "formats": Format, "metrics": Metric},
    "taggers": TaggerSpec,
}
_plugins: dict[str, dict[str, Any]] = {kind: {} for kind in _TYPES}


def names(kind: Kind) -> tuple[str, ...]:
    """Names of all plug-ins of a kind, sorted: files of the folder, entry points, and files added by a study."""
    return tuple(sorted({*_files(kind), *(point.name for point in _entry_points(kind)), *_plugins[kind]}))


@functools.cache
def _files(kind: Kind) -> tuple[str, ...]:
    package = importlib.import_module(f"lorabench.{kind}")
    return tuple(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(kind: Kind, name: str, where: str = "") -> Any:
    """The plug-in of that kind and name. UserError with the nearest names if there is none; `where` says who asked."""
    if name in _plugins[kind]:
        return _plugins[kind][name]
    if kind == "metrics" and name not in names(kind):
        of, ending = next(((name.removesuffix(each), each) for each in FOLLOWING if name.endswith(each)), ("", ""))
        if (of in names(kind) or of in _plugins[kind]) and ending in following(find(kind, of)):
            return FOLLOWING[ending](find(kind, of))
    if name not in names(kind):
        raise UserError(unknown(kind[:-1], name, names(kind), where))
    for point in _entry_points(kind):
        if point.name == name:
            return _checked(kind, name, point.load(), point.value)
    module = importlib.import_module(f"lorabench.{kind}.{name}")
    return _checked(kind, name, getattr(module, name, None), module.__name__)


def algorithm_of(method: str) -> Algorithm | None:
    """The algorithm behind a word of `AdapterConfig.method`, "lora" of "dora", say; None of one that is not here."""
    family, _, of = method.partition(":")
    name = (of or "lora") if family == "dora" else family
    return find("algorithms", name) if name in names("algorithms") else None


def load_plugin(path: Path) -> list[str]:
    """Register every component that a Python file defines; returns "kind/name" of each. UserError if it has none."""
    module = _module_from(path)
    found = []
    for value in vars(module).values():
        for kind, type_ in _TYPES.items():
            if isinstance(value, type_):
                _plugins[kind][value.name] = value
                found.append(f"{kind}/{value.name}")
    if not found:
        raise UserError(
            f"Plug-in {path} defines no metric, encoder, algorithm, format or tagger; decorate a function with "
            "@metric, say."
        )
    return found


@functools.cache  # reading the metadata of every installed package takes tens of milliseconds
def _entry_points(kind: Kind) -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=f"lorabench.{kind}")


def _checked(kind: Kind, name: str, value: Any, origin: str) -> Any:
    if not isinstance(value, _TYPES[kind]):
        raise UserError(f"{origin} must define `{name}` as {_TYPES[kind].__name__}, found {type(value).__name__}.")
    return value


@functools.cache
def _module_from(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"Plug-in {path} does not exist.")
    spec = importlib.util.spec_from_file_location(f"lorabench_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"Plug-in {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything may go wrong in other people's code; the sentence names the file
        raise UserError(f"Plug-in {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
