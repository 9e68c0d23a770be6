"""Runs of parts of a study as one run: their artifacts in one folder, with tables and a page of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorabench import config
from lorabench.api import early_checks, studies
from lorabench.api.progress import open_progress
from lorabench.api.requests import How
from lorabench.config import Study
from lorabench.errors import UserError
from lorabench.pipeline import joining
from lorabench.pipeline.checkup import artifact_folders
from lorabench.pipeline.parts import Part, read_part, require_one_study
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.planning import make_plan
from lorabench.pipeline.run import Progress, Result, Stage
from lorabench.pipeline.tables import check_measured

# What takes neither the base model's weights nor hours; scores, where what they are compared with is another part's.
STAGES: tuple[Stage, ...] = ("score", "audit", "rank", "explain", "report")


def joined(
    folders: Sequence[Path], out: Path, file: Path | None, device: str | None, workers: int | None, quiet: bool
) -> tuple[Plan, Result]:
    """Join the runs in `folders` in `out`, see `lorabench.join`."""
    progress = open_progress(quiet)
    joining.require_place(out, folders)
    parts = _read(folders, progress)
    require_one_study(parts, of_file=file is not None)
    plan = joining.covered(_planned(parts, out, file, device, workers), parts)
    if plan.study.decide.until == "decided":
        raise UserError(
            f"Study '{plan.study.name}' draws its images in rounds, each of which depends on all of the one before "
            "(decide.until): there are no parts of it to join. Run it in one folder."
        )
    found = joining.bring_together(plan, parts, progress)
    plan = replace(plan, remarks=(*plan.remarks, *joining.remarks(plan, found)))
    damage = joining.damage_words(plan, found)
    for sentence in (*damage, *joining.account(plan, found)):
        progress.line(sentence)
    result = studies.carry_out(plan, STAGES, quiet, joining.failures_of(plan, parts))
    joining.finish(plan)
    return plan, replace(result, damage=[*damage, *result.damage])


def _read(folders: Sequence[Path], progress: Progress) -> list[Part]:
    total = sum(len(artifact_folders(folder)) for folder in folders)
    with progress.stage("read", total, total) as advance:
        return [read_part(folder, advance) for folder in folders]


def _planned(parts: Sequence[Part], out: Path, file: Path | None, device: str | None, workers: int | None) -> Plan:
    """The plan of the whole study: as its file says, or as the first part has it whose paths are those of this machine.

    UserError if base model, pictures or encoders are not here: what an artifact was made from is told by them.
    """
    if file is not None:
        study = config.load_study(file)
        if study.name != parts[0].name:
            raise UserError(f"{file} is study '{study.name}', and {parts[0].root} is of '{parts[0].name}'.")
        return _recorded(_plan(study, out, device, workers), parts)
    told = [(part.root, part.study) for part in parts if part.study]
    if not told:
        raise UserError(f"{parts[0].root} holds no whole run.json, which says its study: name its file with --study.")
    errors = []
    for _, study in told:
        try:
            early_checks.check_inputs(study, f"study '{study.name}', ")
            return _recorded(_plan(study, out, device, workers), parts)
        except UserError as error:
            errors.append(error)
    raise UserError(
        f"{errors[0]} So {told[0][0]} has the study: name its file, as it is on this machine, with --study."
    ) from errors[0]


def _plan(study: Study, out: Path, device: str | None, workers: int | None) -> Plan:
    plan = make_plan(studies.prepared(study, How(device or "auto", workers or 0, "local")), out)
    check_measured(plan)
    return plan


def _recorded(plan: Plan, parts: Sequence[Part]) -> Plan:
    """The plan with the published encoders that the parts were measured through, where they are not on this machine."""
    said = (part.facts.get("encoders") for part in parts)
    known = next((each for each in said if each and isinstance(each, dict)), {})
    ids = {name: str(known.get(name, id_)) if "-unfetched-" in id_ else id_ for name, id_ in plan.encoder_ids.items()}
    return replace(plan, encoder_ids=ids)
