"""What a file or an option may hold: numbers of a kind and size that somebody can mean, names that are text."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from lorabench.errors import UserError

MANY = 1_000_000  # epochs, repeats: more of them nobody waits for
MOST_PICTURES = 100_000  # of a prompt set, or drawn at once
LARGEST_SIDE = 8_192  # pixels
SMALLEST_SIDE = 16  # pixels: the smallest bucket
WIDEST = 16_384  # rank, factor, alpha: wider than any layer
FASTEST = 1.0  # learning rate: AdamW moves each number by about as much in a step
LARGEST_RATIO = 1_000.0  # of a merge, either way
MOST_VECTORS = 75  # of a word: a text encoder's chunk of tokens
MOST_WORKERS = 1_024
LARGEST_SEED = 2**63 - 1  # what tables hold
MOST_CONFIGS = 10_000  # of one row's product
MOST_SAMPLES = 100_000_000  # of an epoch: they are shuffled in memory


@dataclass(frozen=True)
class Budget:
    """What a run may take: hours of work, all processes together; images, or a share of all; or kilowatt hours."""

    amount: float
    unit: Literal["h", "img", "%", "kWh"]


_UNITS: dict[str, Literal["h", "img", "%", "kWh"]] = {"h": "h", "img": "img", "%": "%", "kwh": "kWh"}


def budget_of(text: str) -> Budget | None:
    """20h, 100000img, 15% or 10kWh; None of "". ValueError."""
    if not text.strip():
        return None
    plain = text.strip().lower().replace(",", "").replace("_", "")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(h|img|%|kwh)", plain)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"must be hours, images or energy: 20h, 100000img, 15% or 10kWh, not '{text}'")
    return Budget(float(found[1]), _UNITS[found[2]])


def _is_budget(text: str) -> str:
    budget_of(text)
    return text


def _is_number(value: object) -> object:
    """Python takes true for 1, and pydantic "8" for 8."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _is_text(value: str) -> str:
    if "\0" in value or not encodable(value) or any(len(part.encode()) > 255 for part in value.split("/")):
        raise ValueError("must be a name that a file can have")
    return value


def _is_holdout(value: object) -> object:
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not 0 < value < 1) or not 0 <= value <= MOST_PICTURES:
        raise ValueError("must be a share between 0 and 1 (0.2), a number of pictures (5) or a list of names")
    return value


def device_names(text: str) -> str:
    """`text`, if it can name devices: auto, cpu, mps, cuda, cuda:1 or several as cuda:0,cuda:2. ValueError."""
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if not re.fullmatch(r"cpu|mps|cuda(:\d{1,4})?", name)]
    if names != ["auto"] and wrong:
        asked = "auto, cpu, mps, cuda or cuda:<number>, or several as cuda:0,cuda:2"
        raise ValueError(f"must be {asked}; not {wrong[0]!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"names {next(name for name in names if names.count(name) > 1)} twice")
    return text


# Those of diffusers that take each other's place (`KarrasDiffusionSchedulers`), without the ending; not EDM's own, and
# not the SDE's, which takes the package torchsde.
SCHEDULERS = (
    *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "HeunDiscrete", "EulerAncestralDiscrete"),
    *("DPMSolverMultistep", "DPMSolverSinglestep", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DEISMultistep"),
    "UniPCMultistep",
)
OF_A_FOLDER = (
    "adapter",
    "adapter_model",
    "pytorch_lora_weights",
)  # every tool's own: they say nothing of a file
KARRAS = " karras"  # behind a name: the noise levels of Karras et al. (2022), as many interfaces offer them
_WITHOUT_KARRAS = ("DDIM", "DDPM", "PNDM", "EulerAncestralDiscrete")


def scheduler_name(text: str) -> str:
    """The scheduler as records have it, of diffusers' own name or one without "Scheduler". ValueError."""
    name = text.removesuffix(KARRAS).removesuffix("Scheduler")
    if name not in SCHEDULERS:
        near = difflib.get_close_matches(name, SCHEDULERS, n=1, cutoff=0.4)
        raise ValueError(f"must be one of {', '.join(SCHEDULERS)}{f'; is {near[0]} meant?' if near else ''}")
    if text.endswith(KARRAS) and name in _WITHOUT_KARRAS:
        raise ValueError(f"must be without '{KARRAS.strip()}': {name} has noise levels of its own")
    return name + (KARRAS if text.endswith(KARRAS) else "")


_Number = BeforeValidator(_is_number)
Many = Annotated[int, _Number, Field(ge=1, le=MANY)]
Pictures = Annotated[int, _Number, Field(ge=1, le=MOST_PICTURES)]
Few = Annotated[int, _Number, Field(ge=0, le=MOST_PICTURES)]
Steps = Annotated[int, _Number, Field(ge=1, le=1_000)]  # DDIM takes them out of the thousand that training knows
Side = Annotated[int, _Number, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]
Width = Annotated[int, _Number, Field(ge=1, le=WIDEST)]
Vectors = Annotated[int, _Number, Field(ge=1, le=MOST_VECTORS)]
Workers = Annotated[int, _Number, Field(ge=0, le=MOST_WORKERS)]
Quality = Annotated[int, _Number, Field(ge=1, le=100)]  # of lossy pictures
Seed = Annotated[int, _Number, Field(ge=0, le=LARGEST_SEED)]
Rate = Annotated[float, _Number, Field(gt=0, le=FASTEST)]
Strength = Annotated[float, _Number, Field(gt=0, le=WIDEST)]
Guidance = Annotated[float, _Number, Field(ge=0, le=1_000)]
Ratio = Annotated[float, _Number, Field(ge=-LARGEST_RATIO, le=LARGEST_RATIO)]
Positive = Annotated[float, _Number, Field(gt=0)]
NotNegative = Annotated[float, _Number, Field(ge=0, le=MANY)]
Fraction = Annotated[float, _Number, Field(ge=0, le=1)]
Share = Annotated[float, _Number, Field(gt=0, le=1)]
Momentum = Annotated[float, _Number, Field(ge=0, lt=1)]  # a mean that forgets nothing is none
Switch = Annotated[bool, Field(strict=True)]  # pydantic takes "yes" and 1 for true
Holdout = Annotated[float | int | tuple[str, ...], BeforeValidator(_is_holdout)]
Skip = Annotated[int, _Number, Field(ge=1, le=24)]  # text encoders have 12 to 32 layers
Scheduler = Annotated[str, AfterValidator(scheduler_name)]
CaptionKind = Annotated[str, Field(pattern=r"^\w[\w -]{0,60}$")]
Devices = Annotated[str, AfterValidator(device_names)]
Name = Annotated[str, AfterValidator(_is_text)]  # a path, or part of one
BudgetText = Annotated[str, AfterValidator(_is_budget)]  # see `budget_of`


def encodable(name: str) -> bool:
    """Can the name be written as UTF-8? Of a file system in another encoding some cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_text(path: Path, what: str) -> None:
    """UserError for a path whose name no table, page or JSON file can hold."""
    if not encodable(str(path)):
        raise UserError(f"{what} {spelled(str(path))} has a name that is not UTF-8; rename it.")


def spelled(name: str) -> str:
    """A name with what is not text in it spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. UserError if it cannot be read or is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{path} is not valid TOML: {' '.join(str(error).split())}.") from error


# pydantic's words for what a person would say otherwise
_PLAIN = {
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "must be a table"),
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "too_short": "must name at least one",
    "string_pattern_mismatch": "is not of the form that is read here",
}


def given(value: object) -> str:
    """A value as a sentence names it: as TOML writes it where that differs, and short."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def problems(error: ValidationError) -> list[Any]:
    """What pydantic says is wrong, without what only follows: a list of one refused item is also said to be empty."""
    found = error.errors()
    places = [each["loc"] for each in found]
    return [
        each
        for each, place in zip(found, places, strict=True)
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def sentence(problem: Mapping[str, Any], origin: Path, known: Sequence[str]) -> str:
    """One of pydantic's problems as a sentence: the file, the key's place in it, what is wrong, what was given.

    `known` are the keys of the table that the place is in, for "did you mean".
    """
    place = ""
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"{origin}: unknown key '{place}'.{hint} Available: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{origin}: '{place}' is missing."
    if problem["type"] == "json_invalid":
        return f"{origin} is no JSON, or not all of it: {problem['ctx']['error']}."
    message = _PLAIN.get(problem["type"], problem["msg"].removeprefix("Value error, ").rstrip("."))
    got = "" if isinstance(problem["input"], dict | BaseModel) else f", got {given(problem['input'])}"
    return f"{origin}: '{place}': {message[0].lower()}{message[1:]}{got}."
