"""What the program can do, a function a capability: what `import lorabench` gives, and what the command line calls.

Mistakes are told before anything large is imported. All errors of use are `lorabench.UserError`, with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lorabench import config
from lorabench.api import early_checks, pictures
from lorabench.api.pictures import Reading
from lorabench.api.requests import Drawing, GivenAdapters, GivenImages, How, Until, shard_of
from lorabench.api.run import Run
from lorabench.datasets import Words
from lorabench.errors import UserError, unknown
from lorabench.records import MergeMethod

if TYPE_CHECKING:
    import pandas as pd

    from lorabench.api.captioning import Tags
    from lorabench.api.fetching import Weights
    from lorabench.api.prior_images import Drawn
    from lorabench.formats import DType
    from lorabench.pipeline.outlook import Outlook
    from lorabench.pipeline.plan import Plan
    from lorabench.records import Failure

PathName = str | PathLike[str]


def grid(
    study: PathName,
    *,
    out: PathName | None = None,
    device: str | None = None,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    compile: bool | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    anchors: PathName | None = None,
    trigger: str = "",
    class_word: str = "",
    shard: str | None = None,
    until: str | None = None,
    criteria: Sequence[str] = (),
    rate: float | None = None,
    equivalent: float | None = None,
    budget: str | None = None,
    verify: bool = False,
    replace: bool = False,
    quiet: bool = False,
) -> Run:
    """Run a whole study, train to report; what is up to date is left as it is. What failed is in `Run.failures`.

    `study` is a TOML file; `only` are glob patterns of configs, `limit` counts trainings; `trigger` and `class_word`
    call the one concept of pictures that do not say it. `shard` "2/3" does a share of the tasks, beside other processes
    in the same folder. `until` "decided" draws images in rounds until it is known which configs are best by `criteria`
    (all that are measured), at most `rate` of the differences called real being expected to be none, those below
    `equivalent` as good as equal, within a `budget` ("20h", "100000img", "15%", "10kWh"). Results go to `out`, by
    default `results/<study>`. UserError for a study that cannot be run, before any work.
    """
    file, population = Path(study), _path(anchors)
    words, how = Words(trigger, class_word), How(device, workers, executor, address, compile, shard_of(shard))
    going = Until(until, tuple(criteria), rate, equivalent, budget)
    early_checks.check_study(file, population, words)
    from lorabench.api import studies

    plan = studies.planned(file, _path(out), how, only, limit, population, words, going)
    result = studies.carry_out(plan, studies.ALL_STAGES, quiet, verify=verify, replace=replace)
    return Run(plan.root, plan.study.name, result)


def evaluate(
    checkpoints: PathName,
    *,
    data: PathName | None = None,
    reference: PathName | None = None,
    trigger: str = "",
    class_word: str = "",
    base: str | None = None,
    study: PathName | None = None,
    concepts: Sequence[str] = (),
    prompts: PathName | None = None,
    per_set: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    scales: Sequence[float] = (),
    sweep: Mapping[str, Sequence[object]] | None = None,
    paper: bool = False,
    allow_unused: Sequence[str] = (),
    anchors: PathName | None = None,
    sheet: PathName | None = None,
    out: PathName | None = None,
    device: str | None = None,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    compile: bool | None = None,
    shard: str | None = None,
    verify: bool = False,
    replace: bool = False,
    quiet: bool = False,
) -> Run:
    """Score the adapters in a folder: draw paired images, measure, rank among themselves, report.

    `data` is the folder of images that they were trained on, `reference` one of images of the same that they never saw;
    without either fidelity is not measured. `trigger` and
    `class_word` call what they show where neither images nor adapters say it; `base` a hub id, a diffusers folder,
    a .safetensors file or "mini"; `concepts` are glob patterns, `allow_unused` those of keys that may stay unread.
    Drawn are `per_set` images of each concept and prompt type in `steps` at `guidance`, at each of `scales`, the merge
    ratios, and in all combinations of what `sweep` lists, {"steps": [30, 50], "scheduler": ["DDIM", "PNDM"]} say; on
    Stable Diffusion by default as many as a person waits for, with `paper` the paper's 100. `sheet` is a CSV file with
    a line a file, which overrules what metadata and names say: file, config, seed, epoch, step, scale, and factors of
    your own. `shard` is as of `grid`. Files that cannot be evaluated are in `Run.failures`. UserError where none can.
    """
    given = GivenAdapters(
        folder=Path(checkpoints), data=_path(data), reference=_path(reference), words=Words(trigger, class_word),
        base=base, study=_path(study), concepts=tuple(concepts), templates=_path(prompts), unused=tuple(allow_unused),
        drawing=Drawing(per_set, steps, guidance, tuple(scales), sweep or {}, paper), anchors=_path(anchors),
        sheet=_path(sheet), out=_path(out), how=How(device, workers, executor, address, compile, shard_of(shard)),
    )  # fmt: skip
    return score(given, verify=verify, replace=replace, quiet=quiet)


def score_images(
    images: PathName,
    *,
    data: PathName | None = None,
    reference: PathName | None = None,
    trigger: str = "",
    class_word: str = "",
    prompts: PathName | Mapping[str, str] | None = None,
    templates: PathName | None = None,
    study: PathName | None = None,
    concepts: Sequence[str] = (),
    anchors: PathName | None = None,
    sheet: PathName | None = None,
    out: PathName | None = None,
    device: str | None = None,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    shard: str | None = None,
    verify: bool = False,
    replace: bool = False,
    quiet: bool = False,
) -> Run:
    """Score pictures that were drawn elsewhere, without any base model: measure, rank among themselves, report.

    Each sub-folder of `images` holds those of a checkpoint, one called "base" those of the base model; of a folder
    without any all are of one. `data` is the folder of pictures that they should be like, `reference` one of pictures
    of the same that what drew them never saw. Prompts and seeds are read from `prompts`, a list (JSON lines: file_name,
    prompt; seed, concept, type if known) or a mapping from paths in `images`; else from a prompts.jsonl there, text
    files beside the pictures, or what AUTOMATIC1111, ComfyUI and InvokeAI write into them. `templates` is a folder of a
    study's prompts, by which types of prompts are known.
    UserError for what cannot be scored, before any work.
    """
    given = GivenImages(
        folder=Path(images), data=_path(data), reference=_path(reference), words=Words(trigger, class_word),
        prompts=prompts if isinstance(prompts, Mapping) else _path(prompts), templates=_path(templates),
        study=_path(study), concepts=tuple(concepts), anchors=_path(anchors), sheet=_path(sheet), out=_path(out),
        how=How(device, workers, executor, address, shard=shard_of(shard)),
    )  # fmt: skip
    return score(given, verify=verify, replace=replace, quiet=quiet)


def score(
    given: GivenAdapters | GivenImages, *, verify: bool = False, replace: bool = False, quiet: bool = False
) -> Run:
    """Score what is given, as `evaluate`, `score_images` and the command line ask for it."""
    plan, refused = plan_of(given)
    from lorabench.api import studies

    result = studies.carry_out(plan, studies.MEASURING_STAGES, quiet, refused, verify, replace)
    return Run(plan.root, plan.study.name, result)


def plan_of(given: GivenAdapters | GivenImages) -> tuple[Plan, list[Failure]]:
    """All that scoring comes to, and the files that were refused. UserError where nothing can be scored."""
    if isinstance(given, GivenImages):
        early_checks.check_images(given)
        from lorabench.api import evaluate_images

        return evaluate_images.planned(given)
    early_checks.check_evaluation(given)
    from lorabench.api.sheet import read_sheet

    read_sheet(given.sheet)  # a mistake in it is told before torch is loaded
    from lorabench.api import evaluate_adapters

    return evaluate_adapters.planned(given)


def dataset(
    folder: PathName, *, trigger: str = "", class_word: str = "", write: bool = False, skeleton: str = ""
) -> Reading:
    """What a folder of pictures, or the TOML file that describes it, is read as, in whatever layout it lies.

    `Reading.concepts()` is a frame, `assumptions` are sentences, `lacking` says what has to be said before it can be
    used. `write` writes the dataset.toml that was assumed. `skeleton="paper"` writes that of the paper's data set, and
    the folders for its pictures, where there is none; the sentences then say how many are missing where. UserError for
    what is no data set.
    """
    if skeleton:
        return pictures.skeleton(Path(folder), skeleton)
    found = pictures.dataset(Path(folder), Words(trigger, class_word))
    return pictures.write(found) if write else found


def plan(
    study: PathName,
    *,
    out: PathName | None = None,
    device: str | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    trigger: str = "",
    class_word: str = "",
    tflops: float | None = None,
) -> Outlook:
    """What a study takes before it is run: trainings, images, FLOP, bytes on disk and of memory, seconds, what to turn.

    Weights and pictures need not be here: FLOP are counted on the architectures, pictures as dataset.toml states them;
    `Outlook.notes` says what stands for what. Times are those of the run in `out` where it has begun, else at `tflops`
    (10^12 FLOP/s that the machine sustains) or at what a matrix product of two seconds says of this one. UserError for
    a study that cannot be, and for pictures that are here and no data set.
    """
    words = Words(trigger, class_word)
    config.expand(config.load_study(Path(study)))
    from lorabench.api import planned_work

    return planned_work.foreseen(Path(study), _path(out), device, only, limit, words, tflops)


def captions(
    folder: PathName,
    *,
    strategy: Literal["all", "adjusted", "none"] | None = None,
    tags: str = "",
    tagger: str = "",
    weights: PathName | None = None,
    threshold: float = 0.35,
    blacklist: PathName | None = None,
    kind: str = "",
    trigger: str = "",
    class_word: str = "",
    replace: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Tags:
    """The tags of a data set's pictures by concept, and with a strategy captions made of them, beside the pictures.

    Tags come from files with the extension `tags`, or a `tagger` (its tags of at least that probability), else from the
    captions that are there. "all": the words that call the concept, and all its tags; "adjusted": but for those that
    the `blacklist` binds to the concept, a TOML file of lists of tags by glob patterns over concepts; "none": the words
    alone. They go into files of their `kind`, the strategy's by default ("all tags": .all_tags, "adjusted tags": .txt);
    files that are there stay, unless `replace`. UserError for what is no data set or has no tags.
    """
    if strategy not in (None, "all", "adjusted", "none"):
        raise UserError(unknown("strategy", strategy, ("all", "adjusted", "none"), "--strategy"))
    if tags and tagger:
        raise UserError("Tags come from files or from a tagger: name --tags or --tagger, not both.")
    if not 0 <= threshold <= 1:
        raise UserError(f"A threshold is a probability, from 0 to 1, and not {threshold}.")
    from lorabench.api import captioning

    source = captioning.Source(tags, tagger, _path(weights), threshold, device)
    words = Words(trigger, class_word)
    return captioning.captions(Path(folder), words, source, strategy, _path(blacklist), kind, replace, quiet)


def class_images(
    study: PathName,
    *,
    count: int = 100,
    out: PathName | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Drawn:
    """Draw so many pictures of each class word of a study's data set with its base model, for prior preservation.

    They go to `out`, by default the study's data.class_images: a folder a class, each picture with its caption; those
    that are there stay. UserError for a study that cannot be, and where nobody names the folder or a class.
    """
    if count < 1:
        raise UserError(f"The number of class images must be at least 1, got {count}.")
    early_checks.check_study(Path(study))
    from lorabench.api import prior_images

    return prior_images.draw(Path(study), count, _path(out), How(device), quiet)


def fetch(study: PathName, *, dry_run: bool = False) -> tuple[Weights, ...]:
    """Bring the weights that a study needs from the hub into its cache; what there is of each model then.

    Nothing is downloaded in a dry run, or where HF_HUB_OFFLINE is set. What could not be brought has the state
    "missing", and its `detail` says how to get it. UserError for a study that cannot be.
    """
    from lorabench.api import fetching

    return fetching.fetch(Path(study), dry_run)


def join(
    *runs: PathName,
    out: PathName,
    study: PathName | None = None,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Run:
    """Join runs of parts of one study (`grid` with `only` or `limit`, on several machines) into one run in `out`.

    Artifacts are copied, each copy is compared with what was written once, and tables and page are made of all; the
    `runs` are only read. What two of them hold with other content is taken of the first, with all that was made of it.
    `study` is its file, where paths on this machine are others than in the runs, or the runs have seeds or configs of
    their own. UserError, before any work, for runs that are not of one study, and where the files of base model,
    pictures or encoders are not here; a model is loaded only where something has to be scored again.
    """
    file = _path(study)
    if file is not None:
        early_checks.check_study(file)
    from lorabench.api import joining

    plan, result = joining.joined([Path(each) for each in runs], Path(out), file, device, workers, quiet)
    return Run(plan.root, plan.study.name, result)


def open_run(folder: PathName, study: str | None = None) -> Run:
    """A finished run by its folder; of several studies in one folder the one of that name.

    UserError for a folder that holds none.
    """
    early_checks.check_run(Path(folder))
    return Run(Path(folder), study)


def audit(
    study: PathName,
    *,
    out: PathName | None = None,
    device: str | None = None,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Probe a study's metrics on its own images, before anything is trained: a row a measurement, with its verdict.

    "passes", "passes what is known" (a data set of one concept has no other to be confused with), "fails" or "not
    known"; columns and limits are in docs/metrics.md. UserError for a study that cannot be run, or whose probes failed.
    """
    early_checks.check_study(Path(study))
    from lorabench.api import auditing, studies

    plan = studies.planned(Path(study), _path(out), How(device, workers, executor, address))
    result = studies.carry_out(plan, ("audit",), quiet, verify=verify)
    if result.failures:
        raise UserError("; ".join(f"{each.stage} {each.item}: {each.message}" for each in result.failures))
    return auditing.verdicts(plan)


def inspect(adapter: PathName, *, base: str | None = None, allow_unused: Sequence[str] = ()) -> dict[str, Any]:
    """What an adapter file or peft folder holds: algorithm, layers, sizes, norms of its updates, metadata.

    Without `base` it is fitted to the architectures there are. Norms are of |dW| at merge ratio 1; None where they
    depend on weights of the base that are not here. `blocks` is the health of the update block by block: spectral norm,
    stable rank, share of the first direction, |dW| / |W0|. Of a folder with several adapters `files` and `blocks` are
    the health of each, and `unlike` what is far from the others'. UserError for a file that fits none.
    """
    early_checks.existing(Path(adapter), "Checkpoint", "")
    from lorabench.api import adapter_folders, adapter_tools

    if Path(adapter).is_dir() and adapter_folders.adapter_files(Path(adapter)) != [Path(adapter)]:
        return adapter_tools.compare_health(Path(adapter), base, allow_unused)
    return adapter_tools.inspect(Path(adapter), base, allow_unused)


def convert(
    adapter: PathName,
    out: PathName,
    *,
    to: Literal["kohya", "diffusers", "peft", "merged"],
    base: str | None = None,
    scale: float = 1.0,
    dtype: DType = "float32",
    allow_unused: Sequence[str] = (),
) -> Path:
    """Write an adapter in another format, or a whole base model with the update merged in at `scale`; returns `out`.

    UserError where `out` exists, and for what the format cannot hold.
    """
    early_checks.existing(Path(adapter), "Checkpoint", "")
    from lorabench.api import adapter_tools

    adapter_tools.convert(Path(adapter), Path(out), to, base, scale, dtype, allow_unused)
    return Path(out)


def merge(
    adapters: Mapping[PathName, float],
    out: PathName,
    *,
    method: MergeMethod = "linear",
    rank: int | None = None,
    density: float | None = None,
    seed: int | None = None,
    base: str | None = None,
    to: Literal["kohya", "diffusers", "peft"] = "kohya",
    dtype: DType = "float32",
    allow_unused: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Write adapters, each at its ratio, as one; what came of it: the file, its rank, what compressing to one cost.

    Any algorithms go together. `method`: "linear" sums the updates; "svd" compresses the sum to `rank`, by default the
    largest of the parents'; "ties" trims to `density` (0.5), elects signs and takes the mean (Yadav et al. 2023);
    "dare" keeps a random `density`, rescales and sums (Yu et al. 2024), by `seed` (0); "dlf" weighs the parents layer
    by layer (docs/merging.md). `rank` compresses what the others give too. `base` is needed where updates depend on its
    weights (DoRA, (IA)^3, OFT). "interference" says of each two parents how their updates agree. UserError for files
    that do not go together.
    """
    for file in adapters:
        early_checks.existing(Path(file), "Checkpoint", "")
    if method not in get_args(MergeMethod):
        raise UserError(unknown("method", method, get_args(MergeMethod), "--method"))
    from lorabench.api import merging

    parents = [(Path(file), float(ratio)) for file, ratio in adapters.items()]
    recipe = merging.recipe_of(method, rank, density, seed)
    return merging.merged(parents, Path(out), recipe, base, to, dtype, allow_unused, quiet)


def count(
    algorithm: str = "peft",
    *,
    base: str = "sd15",
    layers: str = "linear",
    dim: int | None = None,
    alpha: float | None = None,
    factor: int | None = None,
    conv_dim: int | None = None,
    decompose_both: bool = False,
    tucker: bool = False,
    dora: bool = False,
    peft: str | Mapping[str, Any] | None = None,
    vectors: int | None = None,
    unet: bool = True,
    text_encoder: bool = True,
) -> dict[str, Any]:
    """What an adapter would train: parameters, modules, bytes of its float16 file. Reads no weights.

    `peft` is the name of a method of peft or its settings, {"peft_type": "VERA", "r": 8}; `vectors` those of one word.
    UserError for what the algorithm cannot do with these layers.
    """
    early_checks.check_component("algorithms", algorithm, "--algorithm")
    from lorabench.api import adapter_tools
    from lorabench.records import EMBEDDINGS, TEXTUAL_INVERSION, AdapterConfig

    if algorithm == TEXTUAL_INVERSION:
        layers, vectors = EMBEDDINGS, vectors or 1
    config = AdapterConfig(
        algorithm, layers, vectors=vectors, dim=dim, alpha=alpha, factor=factor, conv_dim=conv_dim,
        tucker=tucker, dora=dora, decompose_both=decompose_both, train_unet=unet, train_text_encoder=text_encoder,
        peft=dict(peft) if isinstance(peft, Mapping) else adapter_tools.peft_settings(peft),
    )  # fmt: skip
    return adapter_tools.count(base, config)


def replay(clone: PathName, *, out: PathName = "results/replay") -> Run:
    """Take published measurements (a clone of LyCORIS-evaluation, or of peft) through our ranks, SHAP and report.

    The folder holds a study each of what was found: `open_run(out, study)`. UserError where there is nothing to replay.
    """
    early_checks.existing(Path(clone), "Folder", "")
    from lorabench.api import replaying

    replaying.replayed(Path(clone), Path(out))
    return Run(Path(out))


def diversity(
    folder: PathName,
    *,
    encoder: str = "dinov2",
    weights: PathName | None = None,
    resize: str | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> pd.DataFrame:
    """Diversity of each class (a folder of pictures) over that of all pictures (LyCORIS H.1): a row a class and metric.

    Vendi score, intra-dissimilarity and variance, for classes of more than 50 pictures. UserError for names that do not
    exist, and where there is no such class.
    """
    early_checks.existing(Path(folder), "Folder", "")
    early_checks.check_component("encoders", encoder, "--encoder")
    found = None if weights is None else config.resolve_path(str(weights), Path())
    if found is not None:
        early_checks.existing(found, "Encoder weights", "--weights")
    from lorabench.api import class_diversity

    return class_diversity.ratios(Path(folder), encoder, found, resize, device, seed, quiet)


def init(
    folder: PathName, *, data: PathName | None = None, base: str | None = None, caption: str | None = None
) -> Path:
    """Write a first study, `folder`/study.toml, from a folder of pictures: commented, to be edited. Returns the file.

    `caption` is written beside pictures that have none. UserError for what a study cannot be made of; nothing is
    written then.
    """
    from lorabench.api import starting

    return starting.write_study(Path(folder), _path(data), base, caption).file


def _path(name: PathName | None) -> Path | None:
    return None if name is None else Path(name)
