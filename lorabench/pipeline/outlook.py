"""What a study takes, before any of it is done: how much there is of what, and the settings that it depends on.

It is counted, not measured: what the networks must do at the least. Encoding prompts, ranking and explaining are left
out (below 0.1 % of the paper's study); so is what is lost to reading, writing and waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lorabench.pipeline import disk, flops
from lorabench.pipeline.flops import Drawer, Forward
from lorabench.pipeline.pending import training_steps
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.trainable import blank
from lorabench.records import Sampling
from lorabench.sampler import DECODER_BATCH, passes

FEW_STEPS = 15  # of DDIM: what a hurried person draws with


@dataclass(frozen=True)
class StageOutlook:
    """What a stage makes, and what that takes; None = not known."""

    stage: str
    count: int | None
    what: str  # is counted
    flop: float | None
    bytes: float | None  # on disk, of `kept`
    kept: str
    seconds: float | None = None


@dataclass(frozen=True)
class Knob:
    """A setting of the study, and what another value of it would save."""

    key: str
    now: str
    then: str
    flop: float
    bytes: float
    seconds: float | None = None
    caution: str = ""  # what it costs otherwise


@dataclass(frozen=True)
class Outlook:
    """What a study takes; numbers of pictures are None where nothing says how many there are."""

    study: str
    configs: int
    seeds: int
    trainings: int
    steps: int | None
    checkpoints: int
    images: int | None  # that the checkpoints draw
    base_images: int | None  # that the base model draws beside them
    pictures: int | None  # of the data set
    forward: Mapping[str, float]  # FLOP of one pass of each network, and of an image that is drawn
    stages: tuple[StageOutlook, ...]
    knobs: tuple[Knob, ...]  # what saves most first
    memory: Mapping[str, float]  # what for -> bytes, roughly
    notes: tuple[str, ...]
    flops_per_second: float | None = None  # sustained
    seconds: float | None = None  # for all of it, or what is left
    pace: str = ""  # where the time is from: "stated", "calibrated" or "past"

    @property
    def flop(self) -> float:
        return sum(stage.flop or 0.0 for stage in self.stages)

    def at(self, flops_per_second: float, pace: str) -> Outlook:
        """The same with times, at so many operations a second."""

        def timed(each: StageOutlook | Knob) -> StageOutlook | Knob:
            return each if each.flop is None else replace(each, seconds=each.flop / flops_per_second)

        return replace(
            self,
            stages=tuple(map(timed, self.stages)),
            knobs=tuple(map(timed, self.knobs)),
            flops_per_second=flops_per_second,
            seconds=None if self.images is None else self.flop / flops_per_second,
            pace=pace,
        )


def outlook(plan: Plan, drawing: Drawer, training: Drawer, encoders: Mapping[str, Forward | None]) -> Outlook:
    """Of a plan without files (`planning.outline`); networks are counted at the size of images and of training."""
    known = bool(plan.dataset.images)
    drawn = sum(len(each.requests) for each in plan.prompt_sets)
    forward = {
        "unet": drawing.unet.flop,
        "text_encoder": drawing.text_flop,
        "vae_encode": drawing.encode.flop,
        "vae_decode": drawing.decode.flop,
        "image": _image(drawing, plan.study.sampling),
    }
    counted = {name: each for name, each in encoders.items() if each}
    stages = _stages(plan, drawing, training, counted)
    share = 1 - forward["vae_decode"] / forward["image"]
    unknown = [name for name, each in encoders.items() if each is None]
    uncounted = tuple(f"Encoder '{name}' is not counted: nothing here says what its network is." for name in unknown)
    return Outlook(
        study=plan.study.name,
        configs=len({run.config.name for run in plan.runs}),
        seeds=len({run.seed for run in plan.runs}),
        trainings=len(plan.runs),
        steps=_steps(plan) if known else None,
        checkpoints=len(plan.checkpoints) - 1,
        images=drawn * (len(plan.checkpoints) - 1) if known else None,
        base_images=drawn if known else None,
        pictures=len(plan.dataset.images) if known else None,
        forward=forward | {name: each.flop for name, each in counted.items()},
        stages=stages,
        knobs=_knobs(_Known(plan, *stages[:3], counted, share)) if known else (),
        memory=_memory(plan, drawing, training),
        notes=(*plan.remarks, *uncounted),
    )


# --- the stages -------------------------------------------------------------------------------------------------------


def _image(drawing: Drawer, sampling: Sampling) -> float:
    """FLOP of an image that is drawn."""
    return passes(sampling) * drawing.unet.flop + drawing.decode.flop


def _stages(
    plan: Plan, drawing: Drawer, training: Drawer, encoders: Mapping[str, Forward]
) -> tuple[StageOutlook, StageOutlook, StageOutlook, StageOutlook]:
    """train, generate, encode, score."""
    known = bool(plan.dataset.images)
    of_each = sum(len(each.requests) for each in plan.prompt_sets)
    images = len(plan.checkpoints) * of_each
    drawn = of_each * sum(_image(drawing, plan.sampling_of(each)) for each in plan.checkpoints)
    pictures = images * disk.picture_bytes(plan) * disk.kept_share(plan)
    seen = sum(_seen(plan, name) for name in plan.encoder_ids)
    encode = sum(each.flop * _seen(plan, name) for name, each in encoders.items())
    features = sum(_features(plan, name, each) for name, each in encoders.items())
    rows = _rows(plan)
    stages = (
        StageOutlook("train", len(plan.runs), "trainings", _training(plan, training), 0.0, "adapters"),
        StageOutlook("generate", images, "images", drawn, pictures, "pictures"),
        StageOutlook("encode", seen, "pictures", encode, features, "features"),
        StageOutlook("score", rows, "rows", None, float(rows * disk.SCORE), "tables"),
    )
    if not known:
        stages = tuple(replace(each, count=None, flop=None, bytes=None) for each in stages)
    train, *others = stages
    size = disk.adapter_bytes(plan, training.components, plan.runs)
    size += disk.merged_bytes(training.components, plan.mergings)
    return replace(train, count=len(plan.runs), bytes=float(size)), *others


def _steps(plan: Plan) -> int:
    return sum(training_steps(plan, run, run.config.training.milestones[-1]) for run in plan.runs)


def _training(plan: Plan, counted: Drawer) -> float:
    """FLOP of all trainings, and of the data set's latents, once."""
    total, sample = len(plan.training_images) * counted.encode.flop, {}
    for run in plan.runs:
        training = run.config.training
        name = repr(run.config.adapter)
        if name not in sample:
            sample[name] = flops.training(
                counted, blank(counted.components, run.config), counted.chunks(training.max_tokens)
            )
        times = 2 if training.prior_weight else 1  # class images, as many a step
        last = training.milestones[-1]
        a_unit = training.batch_size if last.by_step else plan.training_set(run).samples
        total += times * sample[name] * a_unit * last.number
    return total


def _seen(plan: Plan, encoder: str) -> int:
    """Pictures that an encoder is given: those of each checkpoint that a metric looks at, and the data set's."""
    measuring = plan.measuring
    drawn = sum(len(each.requests) for each in measuring.sets_for(encoder, plan.checkpoints[0]))
    real = sum(len(measuring.pictures_of(each)) * len(measuring.views(encoder, each)) for each in measuring.real)
    return drawn * len(plan.checkpoints) + real


def _features(plan: Plan, name: str, counted: Forward) -> float:
    """Bytes of what is kept of an encoder."""
    return 4.0 * counted.width * _seen(plan, name) if plan.measuring.encoder(name).stored else 0.0


def _rows(plan: Plan) -> int:
    """Of scores: a metric, an encoder and a way to resize of each concept and prompt type of a checkpoint."""
    leaves = 0
    for request in plan.requests:
        metric = plan.measuring.metric(request.metric)
        leaves += sum(
            each.type in metric.prompt_types
            and each.concept.category in (metric.categories or (each.concept.category,))
            for each in plan.prompt_sets
        )
    return leaves * len(plan.checkpoints)


def _memory(plan: Plan, drawing: Drawer, training: Drawer) -> dict[str, float]:
    half = plan.study.run.precision == "bfloat16"
    needs = {}
    for config in {repr(run.config.adapter): run.config for run in plan.runs}.values():
        found = flops.training_memory(training, blank(training.components, config), config.training, plan.study.run)
        needs[config.name] = found.fixed + found.activations
    most = max(needs, key=lambda name: needs[name])
    draw = flops.drawing_memory(drawing, plan.study.images.batch_size, DECODER_BATCH, half)
    return {f"training {most}": needs[most], "drawing": draw.fixed + draw.activations}


# --- what to turn -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """What the knobs are worked out from."""

    plan: Plan
    train: StageOutlook
    generate: StageOutlook
    encode: StageOutlook
    encoders: Mapping[str, Forward]
    unet: float  # share of the U-Net in what an image takes

    def less(self, images: float, trainings: float = 0.0, adapters_: float = 0.0) -> tuple[float, float]:
        """FLOP and bytes of these shares of all images, trainings and adapters."""
        flop = images * (self.generate.flop + self.encode.flop) + trainings * self.train.flop
        return flop, images * (self.generate.bytes + self.encode.bytes) + adapters_ * self.train.bytes

    @property
    def trained(self) -> float:
        """Share of the images that are not the base model's."""
        return 1 - 1 / len(self.plan.checkpoints)


def _knobs(known: _Known) -> tuple[Knob, ...]:
    found = (turned(known) for turned in (_per_set, _sampling_steps, _seeds, _epochs, _encoders, _keep))
    return tuple(sorted((each for each in found if each), key=lambda knob: knob.flop, reverse=True))


def _per_set(known: _Known) -> Knob | None:
    images = known.plan.study.images
    now, then = images.per_set, images.per_set // 2
    if not then:
        return None
    flop, size = known.less(1 - then / now)
    if images.keep != "all":  # as many stay as before
        size = known.encode.bytes * (1 - then / now)
    caution = "intervals get wider, and diversity can be compared at equal numbers only"
    return Knob("images.per_set", f"{now}", f"{then}", flop, size, caution=caution)


def _sampling_steps(known: _Known) -> Knob | None:
    now = known.plan.study.images.steps
    if now <= FEW_STEPS:
        return None
    flop = known.generate.flop * known.unet * (1 - FEW_STEPS / now)
    caution = "the pictures are others than those of the paper's protocol"
    return Knob("images.steps", f"{now}", f"{FEW_STEPS}", flop, 0.0, caution=caution)


def _seeds(known: _Known) -> Knob | None:
    seeds = Counter(run.seed for run in known.plan.runs)
    if len(seeds) < 2:
        return None
    share = min(seeds.values()) / len(known.plan.runs)
    caution = "one seed tells no config apart" if len(seeds) == 2 else "smaller differences cannot be told"
    saved = known.less(share * known.trained, share, share)
    return Knob("seeds", f"{len(seeds)}", f"{len(seeds) - 1}", *saved, caution=caution)


def _epochs(known: _Known) -> Knob | None:
    milestones = known.plan.study.training.milestones
    if len(milestones) < 2:
        return None
    saved = known.less(known.trained / len(milestones), 0.0, 1 / len(milestones))
    now, then = (", ".join(str(milestone.number) for milestone in each) for each in (milestones, milestones[1:]))
    key = "training.checkpoint_steps" if milestones[0].by_step else "training.checkpoint_epochs"
    return Knob(key, now, then, *saved, caution=f"nothing is known of {milestones[0]}")


def _encoders(known: _Known) -> Knob | None:
    costs = {name: each.flop * _seen(known.plan, name) for name, each in known.encoders.items()}
    if len(costs) < 2:
        return None
    name = max(costs, key=lambda name: costs[name])
    size = _features(known.plan, name, known.encoders[name])
    return Knob(
        "metrics.encoders",
        f"{len(costs)}",
        f"{len(costs) - 1}, without {name},",
        costs[name],
        size,
        caution="its metrics go too",
    )


def _keep(known: _Known) -> Knob | None:
    images = known.plan.study.images
    study = known.plan.study.model_copy(update={"images": images.model_copy(update={"keep": "shown"})})
    share = disk.kept_share(replace(known.plan, study=study))
    if images.keep != "all" or share == 1:
        return None
    size = known.generate.bytes * (1 - share)
    return Knob("images.keep", '"all"', '"shown"', 0.0, size, caution="other metrics have to draw them again")
