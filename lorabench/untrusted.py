"""Other people's files are data: JSON read as checked records, folders seen without what could run or fetch.

Libraries that load models from folders follow what the folders name: other repositories, modules to import, kernels to
download. They are shown a copy that holds the files and keys which are known here, and the hub is switched off.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from huggingface_hub import constants
from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError

from lorabench.errors import UserError
from lorabench.values import LARGEST_SEED, given

Record = TypeVar("Record", bound=BaseModel)
Whole = Annotated[int, Field(ge=0, lt=2**63)]  # what tables can hold
Seed = Annotated[int, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)]  # kohya writes numbers as texts
Size = Annotated[int, Field(ge=1, le=2**24)]  # of a layer or a picture
# Data alone, read as they are.
_KNOWN_TOKENIZER = (
    *("vocab.json", "merges.txt", "tokenizer.json", "vocab.txt"),
    *("spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
_CLASS, _TOKENIZER = "CLIPTokenizer", re.compile(r"\w+Tokenizer(Fast)?")
# Left out of tokenizer_config.json: names of files, `auto_map`, chat templates.
_KNOWN_OF_TOKENIZER = {
    *("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"),
    *("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "model_max_length"),
    *("do_lower_case", "errors", "add_prefix_space", "clean_up_tokenization_spaces", "split_special_tokens"),
    *("padding_side", "truncation_side", "add_bos_token", "add_eos_token", "model_input_names", "tokenizer_class"),
}


class FileRecord(BaseModel):
    """A table of somebody's file: strict types and finite numbers; keys that are not read are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Table(RootModel[dict[str, JsonValue]]):
    """JSON settings by name, whatever they are."""


# --- JSON ------------------------------------------------------------------------------------------------------------


def parsed(text: str | bytes, record: type[Record], place: str) -> Record:
    """The JSON as that record. UserError naming place, key and value; however deep, long or broken the text is."""
    try:
        return record.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{place}: {first_problem(error)}") from error


def checked(values: Mapping[str, Any], record: type[Record], place: str) -> Record:
    """Values that were parsed before as that record. UserError as of `parsed`."""
    try:
        return record.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(f"{place}: {first_problem(error)}") from error


def read_json(file: Path, record: type[Record] = Table) -> Record:
    """A JSON file as that record. UserError as of `parsed`, and for a file that cannot be read."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}).") from error
    return parsed(content, record, str(file))


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's problems in words: the key, what it should be, what it is."""
    problem = error.errors(include_url=False)[0]
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    message = f"{message[0].lower()}{message[1:]}"
    if problem["type"] == "json_invalid":
        return f"it is {message}; save it again."
    place = ".".join(str(part) for part in problem["loc"] if not _BRANCH.match(str(part)))
    if problem["type"] == "missing":
        return f"'{place}' is missing; save it again."
    got = "" if problem["type"] == "recursion_loop" else f", got {given(problem['input'])}"
    return f"'{place}': {message}{got}." if place else f"{message}{got}."


# What pydantic adds to a place to say which branch of a union it means.
_BRANCH = re.compile(r"(?:int|float|str|bool|none)$|(?:constrained|function|nullable)-|(?:literal|list|dict)\[")


# --- folders that libraries load from ---------------------------------------------------------------------------------


@contextmanager
def offline() -> Iterator[None]:
    """Inside, the hub's client refuses every request before a socket is made; set in the environment it comes late."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def clean_folder(files: Mapping[str, Path | Mapping[str, Any]]) -> Iterator[Path]:
    """Inside, a temporary folder that holds those files alone, links to them or JSON, with the hub switched off."""
    with tempfile.TemporaryDirectory(prefix="lorabench-") as name, offline():
        folder = Path(name)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                (folder / path).symlink_to(content.resolve())
            else:
                (folder / path).write_text(json.dumps(dict(content)), encoding="utf-8")
        yield folder


def known(file: Path, keys: Collection[str]) -> dict[str, Any]:
    """Those of the keys that a JSON file has. UserError as of `read_json`."""
    return {key: value for key, value in read_json(file).root.items() if key in keys}


def tokenizer_files(folder: Path) -> dict[str, Path | Mapping[str, Any]]:
    """What `clean_folder` shows of a tokenizer's folder: CLIP's, or another class of transformers that it names."""
    files: dict[str, Path | Mapping[str, Any]] = {
        name: folder / name for name in _KNOWN_TOKENIZER if (folder / name).is_file()
    }
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            files[name] = known(folder / name, _KNOWN_OF_TOKENIZER)
    if (folder / "added_tokens.json").is_file():
        files["added_tokens.json"] = read_json(folder / "added_tokens.json", AddedTokens).root
    config = files.get("tokenizer_config.json", {})
    name = str(config.get("tokenizer_class"))
    files["tokenizer_config.json"] = {**config, "tokenizer_class": name if _TOKENIZER.fullmatch(name) else _CLASS}
    return files


class AddedTokens(RootModel[dict[str, Whole]]):
    """added_tokens.json: token -> its number."""
