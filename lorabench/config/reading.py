"""A study file as a checked Study: strict to read, on top of the study that it extends.

Unknown keys are errors. Paths are relative to the file that holds them; `lorabench:mini/...` points into the installed
package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lorabench.base_names import parse_base
from lorabench.config.schema import (
    Data,
    Drawn,
    EncoderChoice,
    Explain,
    GridRow,
    Images,
    Merge,
    MetricChoice,
    Run,
    Study,
    Sweep,
    Training,
    Variation,
)
from lorabench.errors import UserError, unknown
from lorabench.shipped import IS_INSTALLED, PROMPTS, STUDIES, study_file, study_names
from lorabench.values import given, problems, read_toml, sentence

PACKAGE_SCHEME, PATH_SCHEME = "lorabench:", "path:"
MINI = "mini"  # as a base: the miniature world's
MINI_PLACE = "lorabench:mini/weights/base"
_PACKAGE = Path(__file__).resolve().parents[1]
_PATHS = (
    *(
        "base",
        "vae",
        "plugins",
        "anchors",
        "data.folder",
        "data.class_images",
        "data.reference",
        "images.prompts",
        "images.companion",
        "encoders.*.weights",
        "merge.parents",
    ),
    *(f"sweep.{place}{name}" for place in ("", "vary.", "product.") for name in ("base", "vae", "companion")),
)
_WITH_THE_USER = (
    "data.folder",
    "data.class_images",
    "data.reference",
)  # whose pictures are: a study that comes along has none
_MODELS = ("base", "vae")  # a path or a hub id
_OWN_KEYS = ("name", "description", "extends")  # what a study says of itself alone
# Patterns over, and words for, what another key brings: a file with that key of its own has these of its own too.
_PATTERNS = (
    *(
        ("data", "folder", "data", key)
        for key in ("concepts", "trigger", "class_word", "class_images", "holdout", "reference")
    ),
    ("", "grid", "explain", "exclude"),
    ("data", "folder", "explain", "epochs"),
)

_File = tuple[Path, dict[str, Any]]


def load_study(path: Path) -> Study:
    """Read a study file, or one that comes with lorabench by its name. UserError for whatever is wrong in it.

    The sentence names file and key.
    """
    if not path.is_file() and str(path) in study_names():
        path = study_file(str(path))
    if path.is_dir():
        raise UserError(f"{path} is a folder; a study is a TOML file.{_study_files_near(path / 'study.toml')}")
    if not path.exists():
        if path.name == str(path) and not path.suffix:
            raise UserError(unknown("study", path.name, study_names(), "or a path that ends in .toml"))
        raise UserError(f"Study file {path} does not exist.{_study_files_near(path)}")
    return study_from(read_toml(path), path)


def study_from(content: dict[str, Any], origin: Path) -> Study:
    """A Study from the content of a TOML file at `origin` (paths in it are resolved against its folder)."""
    top, *below = _with_extended(content, origin)
    files = [top, *((path, {key: each[key] for key in each if key not in _OWN_KEYS}) for path, each in below)]
    merged: dict[str, Any] = {}
    for path, each in reversed(files):
        merged = _on_top(_with_paths(each, path.resolve().parent), merged)
    try:
        study = Study(**merged)
    except ValidationError as error:
        raise UserError("\n".join(_sentence(each, files) for each in problems(error))) from error
    if study.images.prompts:
        return study
    return study.model_copy(update={"images": study.images.model_copy(update={"prompts": str(PROMPTS)})})


# --- one study on top of another --------------------------------------------------------------------------------------


def _with_extended(content: dict[str, Any], origin: Path) -> list[_File]:
    """The file, the one that it extends, the one that this extends, ... UserError for a circle."""
    files = [(origin, content)]
    seen = [origin.resolve()]
    while extends := files[-1][1].get("extends"):
        path = _extended(extends, files[-1][0])
        if path.resolve() in seen:
            circle = " -> ".join(str(each) for each in (*(file for file, _ in files), path))
            raise UserError(f"{files[-1][0]}: 'extends': studies extend each other in a circle: {circle}.")
        seen.append(path.resolve())
        files.append((path, read_toml(path)))
    return files


def _extended(text: object, origin: Path) -> Path:
    """The file that `extends` in the file at `origin` means."""
    if not isinstance(text, str) or "\0" in text:
        raise UserError(f"{origin}: 'extends': must be the name or the path of a study, got {given(text)}.")
    if "/" not in text and not text.endswith(".toml"):
        if text not in study_names():
            raise UserError(unknown("study", text, study_names(), f"{origin}, extends; or a path that ends in .toml"))
        return study_file(text)
    path = resolve_path(text, origin.resolve().parent)
    if not path.is_file():
        raise UserError(f"{origin}: 'extends': there is no study file {path}.")
    return path


def _on_top(own: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """The keys of a file where it has them, else those of the study that it extends."""
    kept = dict(below)
    for table, key, pattern_table, pattern_key in _PATTERNS:
        has = own.get(table) if table else own
        if isinstance(has, dict) and key in has and isinstance(kept.get(pattern_table), dict):
            kept[pattern_table] = {name: value for name, value in kept[pattern_table].items() if name != pattern_key}
    return _merged(own, kept)


def _merged(own: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Tables key by key, all else whole."""
    both = {
        key: _merged(own[key], below[key])
        for key in own.keys() & below.keys()
        if isinstance(own[key], dict) and isinstance(below[key], dict)
    }
    return below | own | both


def _sentence(problem: Any, files: Sequence[_File]) -> str:
    """A problem in words, with the file that holds the key."""
    return sentence(problem, _holder(problem["loc"], files), _keys_of(problem["loc"][:-1]))


def _holder(place: Sequence[str | int], files: Sequence[_File]) -> Path:
    """The topmost file that has the key at a place, or the table that it would be in."""
    candidates = list(files)
    for part in place:
        having = [(path, table[part]) for path, table in candidates if isinstance(table, dict) and part in table]
        if having:
            candidates = having if isinstance(having[0][1], dict) else having[:1]  # what is no table hides all below
    return candidates[0][0]


# --- paths ------------------------------------------------------------------------------------------------------------


def resolve_path(text: str, folder: Path) -> Path:
    """A path of a study file: inside the package (`lorabench:mini/...`), absolute, or relative to `folder`."""
    if text.startswith(PACKAGE_SCHEME):
        return _PACKAGE / text.removeprefix(PACKAGE_SCHEME)
    return (folder / Path(text).expanduser()).resolve()


def portable(path: str) -> str:
    """A path inside the package as `lorabench:...`, which means the same everywhere; any other text as it is."""
    inside = Path(path).is_relative_to(_PACKAGE)
    return f"{PACKAGE_SCHEME}{Path(path).relative_to(_PACKAGE)}" if inside else path


def base_source(text: str, folder: Path) -> str:
    """A base model as a study or an option names it: `mini`, a path from `folder`, or a hub id, which stays so.

    With ":variant", and "@revision" of a hub id, which stay too.
    """
    if text == MINI:
        return str(resolve_path(MINI_PLACE, folder))
    if text.startswith(PATH_SCHEME):
        return str(resolve_path(text.removeprefix(PATH_SCHEME), folder))
    place = parse_base(text).place
    is_path = text.startswith((PACKAGE_SCHEME, ".", "/", "~")) or place.endswith(".safetensors")
    is_here = (folder / text).exists() or (folder / place).exists()
    return str(resolve_path(text, folder)) if text and (is_path or is_here) else text


def _with_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a file with every path in it absolute; what is no text waits for the check of its kind."""
    for place in _PATHS:
        home = Path.cwd() / STUDIES.name if place in _WITH_THE_USER and _comes_along(folder) else folder
        key = place.rpartition(".")[2]
        resolve = base_source if key in _MODELS else _parent if key == "parents" else _absolute
        content = _resolved(content, place.split("."), home, resolve)
    return content


def _parent(text: str, folder: Path) -> str:
    """A parent of a merge: the name of a config, which stays so, or an adapter's path."""
    return str(resolve_path(text, folder)) if is_path(text) or text.endswith(".safetensors") else text


def is_path(parent: str) -> bool:
    """Is a parent of a merge a file, rather than a config's name? As a study has it once it is read."""
    return "/" in parent


def _comes_along(folder: Path) -> bool:
    """Is a study of this folder one that an installed lorabench brings? Its pictures lie where the user is, then."""
    return IS_INSTALLED and folder == STUDIES


def _resolved(value: Any, place: Sequence[str], folder: Path, resolve: Callable[[str, Path], str]) -> Any:
    if isinstance(value, list):
        return [_resolved(each, place, folder, resolve) for each in value]
    if place:
        if not isinstance(value, dict):
            return value
        return {
            key: _resolved(each, place[1:], folder, resolve) if place[0] in (key, "*") else each
            for key, each in value.items()
        }
    try:
        return resolve(value, folder) if isinstance(value, str) else value
    except (ValueError, RuntimeError, OSError):  # no name that a file can have, no user of that name
        return value


def _absolute(text: str, folder: Path) -> str:
    return str(resolve_path(text, folder)) if text else ""


def _keys_of(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed in the table at that place, for "did you mean"."""
    tables = {"data": Data, "training": Training, "images": Images, "grid": GridRow, "vary": Variation}
    tables |= {"encoders": EncoderChoice, "metrics": MetricChoice, "merge": Merge, "explain": Explain, "run": Run}
    tables |= {"sweep": Sweep, "vary": Drawn} if "sweep" in location else {}
    named = [part for part in location if part in tables]
    table = tables[str(named[-1])] if named else Study
    return list(table.model_fields)


def _study_files_near(path: Path) -> str:
    files = sorted(str(file) for file in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    return f" Study files there: {', '.join(files)}." if files else ""
