"""Where the studies and prompt templates that come with lorabench lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_FILES = _PACKAGE / "shipped_files"  # a wheel carries the top-level folders of a checkout there (pyproject.toml)

IS_INSTALLED = _FILES.is_dir()
STUDIES = (_FILES if IS_INSTALLED else _PACKAGE.parent) / "configs"
PROMPTS = STUDIES.parent / "prompts"  # the paper's templates, and general ones for what it has none for


def study_names() -> list[str]:
    """What `lorabench grid` and `extends` know by name."""
    return sorted(file.stem for file in STUDIES.glob("*.toml"))


def study_file(name: str) -> Path:
    """The file of a study that is named, whether or not there is one."""
    return STUDIES / f"{name}.toml"
