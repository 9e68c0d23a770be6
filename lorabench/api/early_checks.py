"""Mistakes of a command line that can be told at once, before the seconds in which torch and its like are loaded."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lorabench import base_files, components, config, datasets
from lorabench.api import pictures
from lorabench.api.bystanders import TEXT, without_bystanders
from lorabench.api.requests import GivenAdapters, GivenImages
from lorabench.base_names import parse_base
from lorabench.config import MINI, Data, Study
from lorabench.datasets import Words
from lorabench.errors import UserError, unknown
from lorabench.pipeline.places import TRAINING_STATE
from lorabench.values import encodable, require_text, spelled

MINI_DATASET = config.resolve_path("lorabench:mini/dataset", Path())  # written when it is first used
NO_WORDS = Words()
OURS = "lorabench"  # the metadata key of files that lorabench wrote
PEFT_CONFIG = "adapter_config.json"
WHICH_WORDS = (
    "Nothing says how prompts call what the adapters show: add --data FOLDER, the pictures that they were trained on, "
    "however they are laid out (fidelity is measured against them), or --trigger sks --class-word dog alone."
)


def check_words() -> None:
    """UserError for words, and for a place to work in, that no table, page or JSON file could name."""
    for word in sys.argv[1:]:
        if not encodable(word):
            raise UserError(f"'{spelled(word)}' is not UTF-8 text; rename that file or folder.")
    require_text(Path.cwd(), "The present folder")


def check_study(path: Path, anchors: Path | None = None, words: Words = NO_WORDS) -> Study:
    """The study of a file whose grid, plug-ins, pictures, prompts, weights and anchors are there."""
    study = with_words(config.load_study(path), words)
    place = f"study '{study.name}', "
    for index, merge in enumerate(config.checked_merges(study, config.expand(study))):
        for parent in filter(config.is_path, merge.parents):
            existing(Path(parent), "Adapter", f"{place}merge[{index}].parents")
    check_inputs(study, place, anchors)
    return study


def with_words(study: Study, words: Words) -> Study:
    """The study with the words of options, where there are such, in place of its own."""
    changes = {"trigger": words.trigger, "class_word": words.class_word}
    return study.model_copy(update={"data": study.data.model_copy(update=changes)}) if words else study


def describe_grid(path: Path) -> dict[str, object]:
    """What the grid of a study file comes to, whether or not its weights and data are here."""
    study = config.load_study(path)
    configs = config.expand(study)
    milestones, seeds, scales = study.training.milestones, study.seeds, study.images.scales
    merged = config.merge_drawings(study, configs)
    count = (len(config.drawings(study, configs)) + len(merged)) * len(seeds)
    unit = "milestones" if milestones[0].by_step else "epochs"
    words = f"checkpoints: {len(configs)} configs x {len(seeds)} seeds x {len(milestones)} {unit}"
    if len(scales) > 1:
        words += f" x {len(scales)} merge ratios"
    if merged:
        words += f", and {len({merge.name for merge, _, _ in merged})} merges"
    if study.sweep:
        words += ", and what the sweeps draw of them"
    return {"stage": "grid", "count": count, "what": words, "tasks to do": ""}


def check_inputs(study: Study, where: str, anchors: Path | None = None, *, draws: bool = True) -> None:
    """UserError for files and folders that a study names and that are not there; to draw it takes base and words."""
    for plugin in study.plugins:
        existing(Path(plugin), "Plug-in", f"{where}plugins")
    if study.data.folder and study.data.folder != str(MINI_DATASET):
        check_pictures(study.data, needs_words=draws)
    if study.images.prompts and not Path(study.images.prompts).is_dir():
        raise UserError(f"There is no folder {study.images.prompts} of prompt templates ({where}images.prompts).")
    for name, choice in study.encoders.items():
        if choice.weights:
            existing(Path(choice.weights), f"The file of encoder '{name}',", f"{where}encoders.{name}.weights")
    if draws:
        check_base(study.base, f"{where}base")
        check_vae(study.vae, f"{where}vae")
        for setting in (way.setting for way in config.ways(study)):
            if setting.base:
                check_base(setting.base, f"{where}sweep")
            check_vae(setting.vae or "", f"{where}sweep")
            if setting.companion:
                existing(Path(setting.companion), "Companion", f"{where}images.companion, sweep")
    if anchors or study.anchors:
        check_anchors(anchors or Path(study.anchors))


def check_base(base: str, where: str) -> None:
    """UserError for a base model named by a path where there is nothing, or by a word that is neither path nor id."""
    place = parse_base(base).place
    if looks_local(base):
        existing(Path(place), "Base model", where)
    elif "/" not in place:
        raise UserError(unknown("base model", base, [MINI], f"{where}; or a hub id, a folder, a .safetensors file"))


def check_vae(vae: str, where: str) -> None:
    """UserError for an autoencoder named by a path where there is nothing."""
    if vae and looks_local(vae):
        existing(Path(parse_base(vae).place), "VAE", where)


def check_anchors(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"Anchors {file} do not exist: name the scores.parquet of a finished run (--anchors, anchors).")


def check_pictures(data: Data, *, needs_words: bool = True) -> None:
    """UserError for folders that are no data set, and for patterns that match none of its concepts."""
    words = Words(data.trigger, data.class_word)
    if data.reference:
        datasets.read_dataset(Path(data.reference), words, needs_words=False, needs_captions=False)
    if not data.folder:
        return
    found = datasets.read_dataset(Path(data.folder), words, needs_words=needs_words)
    ids = [concept.id for concept in found.concepts]
    for pattern in data.concepts:
        if not fnmatch.filter(ids, pattern):
            raise UserError(unknown("concept", pattern, ids, "--concept, data.concepts"))


def check_evaluation(given: GivenAdapters) -> None:
    """UserError for what `lorabench evaluate` could not use."""
    headers = headers_of(adapters_in(given.folder))
    known = config.load_study(given.study) if given.study is not None else None
    of_mini = given.base == MINI or (
        given.base is None and any(OURS in header for header in headers)
    )  # ours name theirs
    data = known.data if known else Data()
    if known is None and of_mini and given.data is None and given.reference is None:
        chosen = Data()
    else:
        chosen, _ = pictures.chosen(data, given, headers)
        if (
            headers
            and not of_mini
            and not chosen.folder
            and not chosen.reference
            and not (chosen.trigger or chosen.class_word)
        ):
            raise UserError(WHICH_WORDS)
    if known is not None:
        config.expand(known)
        check_inputs(known.model_copy(update={"data": chosen}), f"study '{known.name}', ", given.anchors)
    if given.base is not None and given.base != MINI:
        check_base(given.base, "--base")
    if given.templates is not None and not given.templates.is_dir():
        raise UserError(f"There is no folder {given.templates} of prompt templates (--prompts).")
    if given.anchors is not None:
        check_anchors(given.anchors)
    if known is None:
        check_pictures(chosen)


def check_images(given: GivenImages) -> None:
    """UserError for what `lorabench evaluate --images` could not use."""
    if not given.folder.is_dir():
        raise UserError(f"There is no folder {given.folder} of pictures (--images).")
    known = config.load_study(given.study) if given.study is not None else None
    data = known.data if known else Data()
    chosen, _ = pictures.chosen(data, given, ())
    if known is not None:
        place = f"study '{known.name}', "
        check_inputs(known.model_copy(update={"data": chosen}), place, given.anchors, draws=False)
    else:
        check_pictures(chosen, needs_words=False)
    if isinstance(given.prompts, Path) and not given.prompts.is_file():
        raise UserError(f"There is no list {given.prompts} of prompts, nor a folder of templates (--prompts).")
    if given.templates is not None and not given.templates.is_dir():
        raise UserError(f"There is no folder {given.templates} of prompt templates.")
    if given.anchors is not None:
        check_anchors(given.anchors)
    if given.sheet is not None:
        existing(given.sheet, "Sheet", "--sheet")


def adapters_in(folder: Path) -> list[Path]:
    """What looks like an adapter at or below a path, or like a mistake for one. UserError if nothing does."""
    if not folder.exists():
        raise UserError(f"Checkpoint folder {folder} does not exist.")
    suffixes = (".safetensors", *base_files.PICKLES)  # pickles are looked at only to say why they are refused
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    found = [file for file in files if file.suffix in (*suffixes, TEXT) or file.name == PEFT_CONFIG]
    # Our own training folders also hold a training state, which is no checkpoint.
    found = [file for file in found if file.parent.name != TRAINING_STATE]
    found = found if folder.is_file() else without_bystanders(found)
    if all(file.suffix == TEXT for file in found) and not folder.is_file():
        raise UserError(f"There is no adapter in {folder}: no .safetensors file and no peft folder.")
    for file in found:
        require_text(file, "Adapter")
    return found


def check_run(folder: Path) -> None:
    """UserError for a folder that holds no tables of a run."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give the folder of a finished study (its report is there).")
    if not any(folder.glob("*.parquet")):
        raise UserError(f"{folder} holds no tables: give the folder of a finished study (its report is there).")


def check_component(kind: components.Kind, name: str, option: str) -> None:
    """UserError for the name of a component that there is not."""
    if name not in components.names(kind):
        raise UserError(unknown(kind[:-1], name, components.names(kind), option))


def existing(path: Path, what: str, where: str) -> None:
    """UserError if there is nothing at a path; `where` says who named it."""
    if not path.exists():
        raise UserError(f"{what} {path} does not exist" + (f" ({where})." if where else "."))


def looks_local(base: str) -> bool:
    """Is a base named by a path, rather than by the id of a repository?"""
    place = parse_base(base).place
    return place.startswith((".", "/", "~")) or place.endswith(".safetensors") or os.path.exists(place)


def headers_of(files: Sequence[Path]) -> list[dict[str, str]]:
    """The metadata of those safetensors files that can be read."""
    return [header for header in map(_metadata, files) if header is not None]


def _metadata(file: Path) -> dict[str, str] | None:
    """The metadata of a safetensors file; None where it cannot be read."""
    try:
        with safe_open(file, framework="numpy") as opened:
            return opened.metadata() or {}
    except (OSError, SafetensorError):
        return None
