"""What a study takes, whether or not its pictures and weights are here: `lorabench plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lorabench import architectures, base_models, config, datasets, devices
from lorabench.api import studies, throughput
from lorabench.api.early_checks import with_words
from lorabench.api.requests import How
from lorabench.base_models import Base
from lorabench.base_names import parse_base
from lorabench.bases import Kind
from lorabench.config import Study
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.layers import Components
from lorabench.pipeline import effort, flops
from lorabench.pipeline.flops import Drawer
from lorabench.pipeline.outlook import Outlook, outlook
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.planning import outline, with_held_out
from lorabench.records import Dataset

USUAL = ("sd15", 64)  # what a base model that is not known here is counted as: architecture, side of the latents
TERA = 1e12


def foreseen(
    path: Path,
    out: Path | None,
    device: str | None,
    only: Sequence[str],
    limit: int | None,
    words: Words,
    tflops: float | None,
) -> Outlook:
    """What a study takes, with times: of its own past, at so many TFLOP/s, or as a matrix product says. UserError."""
    study = studies.prepared(with_words(config.load_study(path), words), How(device))
    root = out or studies.RESULTS / study.name
    networks, side, said = _base(study)
    dataset = _dataset(study, words)
    plan = outline(study, root, dataset, side, only=only, limit=limit)
    plan = replace(plan, remarks=(*plan.remarks, *said))
    found = _counted(plan, networks)
    if tflops is not None:
        return found.at(tflops * TERA, "stated")
    past = _past(path, out, device, only, limit, words) if root.is_dir() else None
    return replace(found, seconds=past, pace="past") if past is not None else calibrated(found, plan)


def of_plan(plan: Plan) -> Outlook:
    """What a study takes whose base model and pictures are here, without times."""
    return replace(_counted(plan, _networks(plan.base)), notes=())


def calibrated(found: Outlook, plan: Plan) -> Outlook:
    """The same with times at what a matrix product of two seconds says; a note where its device is not here."""
    try:
        chosen = devices.pick_devices(plan.study.run.device)
    except UserError as error:
        return replace(found, notes=(*found.notes, f"Times are not known: {error}"))
    rate = throughput.sustained(torch.device(chosen[0]), getattr(torch, plan.study.run.precision))
    return found.at(rate * len(chosen), "calibrated")  # several are taken to be alike


@dataclass(frozen=True)
class Networks:
    """A base model without its weights."""

    kind: Kind
    components: Components
    autoencoder: torch.nn.Module

    def drawer(self, side: int) -> Drawer:
        return flops.drawer(self.kind, self.components, self.autoencoder, side)


def _networks(base: Base) -> Networks:
    return Networks(base.kind, base.architecture(), base.autoencoder())


def _counted(plan: Plan, networks: Networks) -> Outlook:
    size, resolution = plan.study.sampling.size, plan.study.training.resolution
    drawing = networks.drawer(size)
    training = drawing if resolution == size else networks.drawer(resolution)
    encoders = {}
    for name in plan.encoder_ids:
        choice = plan.study.encoders.get(name)
        encoders[name] = flops.encoder(plan.measuring.encoder(name), choice.weights if choice else "", size)
    return outlook(plan, drawing, training, encoders)


def _base(study: Study) -> tuple[Networks, int | None, tuple[str, ...]]:
    """Networks of the base model, the side of its pictures, and a sentence where its files are not here."""
    try:
        base = base_models.base_of(study.base, study.vae)
        return _networks(base), base.side, ()
    except UserError:
        place = parse_base(study.base).place
        if Path(place).expanduser().exists():
            raise  # it is broken
    known = architectures.published_as(place)
    name, latents = known or USUAL
    autoencoder = base_models.autoencoder()
    factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    what = "its published architecture" if known else f"{name}, since its own architecture is not known"
    said = f"Base model {config.portable(study.base)} is not here: counted as {what}."
    published = Networks(architectures.ARCHITECTURES[name].kind, base_models.architecture(name), autoencoder)
    return published, latents * factor, (said,)


def _dataset(study: Study, words: Words) -> Dataset:
    """The study's pictures, or as many as their description states; without concepts where nothing is known of them.

    UserError for pictures that are here and no data set.
    """
    nothing = Dataset(study.name, "", "", "", (), (), fingerprint="")
    if not study.data.folder:
        return replace(nothing, assumptions=("The study names no data set: set data.folder.",))
    place = Path(study.data.folder)
    words = words or Words(study.data.trigger, study.data.class_word)
    try:
        return replace(with_held_out(study, datasets.read_dataset(place, words)), assumptions=())
    except UserError as error:
        wrong = error
    try:
        return with_held_out(study, datasets.foretell(place))
    except UserError as error:
        if place.exists() and datasets.images_below(place if place.is_dir() else place.parent):
            raise wrong from None
        return replace(nothing, assumptions=(str(error),))


def _past(
    path: Path, out: Path | None, device: str | None, only: Sequence[str], limit: int | None, words: Words
) -> float | None:
    """Seconds that are left, as what is finished took; None where nothing is, or files are missing."""
    try:
        plan = studies.planned(path, out, How(device), only, limit, words=words)
    except UserError:
        return None
    seconds = effort.seconds_left(plan, effort.left(plan))
    return None if seconds is None else seconds / (plan.study.run.workers or studies.suitable_workers(plan))
