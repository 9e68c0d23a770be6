"""What the LyCORIS paper claims (section 5.3.2, appendix F), asked of any study's normalised scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from lorabench.records import ADJUSTED_TAGS, ALL_TAGS, NO_TAGS
from lorabench.stages.contrasts import Contrasts, correlations
from lorabench.statistics.clustered import ClusteredMean, bootstrap_interval, clustered_mean
from lorabench.statistics.columns import CAPTIONS

Expected = Literal["higher", "lower", "equal", "negative", "below 0.5"]
Verdict = Literal["holds", "does not hold", "cannot be told", "not measured"]
MARGIN = 0.05  # of a normalised score in [0, 1]: what counts as no difference
FIDELITY, CONTROL, DIVERSITY, PRESERVATION = "image_similarity", "text_similarity", "vendi", "style_loss_base"
CENTROIDS = "squared_centroid_distance"
GENERAL = ("train", "trigger", "alter")
TYPES = {FIDELITY: GENERAL, CONTROL: GENERAL, DIVERSITY: GENERAL, CENTROIDS: GENERAL, PRESERVATION: ("style",)}
NAMES = {
    FIDELITY: "image similarity",
    CONTROL: "text similarity",
    DIVERSITY: "Vendi score",
    PRESERVATION: "style preservation",
}
# The paper excepts two categories, which are overtrained, from what it says of more epochs and fidelity.
OVERTRAINED = ("scenes", "stuffed_toys")
# Claims 2 and 4 say that something acts like more training, and claim 1 what that does.
MORE_TRAINING: dict[str, Expected] = {FIDELITY: "higher", CONTROL: "lower", DIVERSITY: "lower", PRESERVATION: "lower"}


@dataclass(frozen=True)
class Finding:
    """One statement of a claim and what a study says of it.

    `effect` is a difference of normalised scores in [0, 1] (1 = best), or a correlation (claim 7).
    """

    claim: int
    statement: str
    expected: Expected
    effect: ClusteredMean | None
    verdict: Verdict
    bootstrap: tuple[float, float] | None = None  # the same interval without assuming a distribution


def claims(normalized: pd.DataFrame) -> list[Finding]:
    """Every claim with its effect, a 95 % interval clustered by class and by training run, and a verdict.

    A direction holds if the whole interval is on its side, and does not if it is on the other; "equal" holds if the
    interval is within `MARGIN` of 0, and does not if it is outside; all else cannot be told. "not measured": the study
    has no such configs, metrics or categories. `normalized` holds one study: what is ranked apart is asked apart.
    """
    contrasts = Contrasts(normalized)
    parts = (_epochs, _learning_rate, _layers, _capacity, _native, _preservation, _distinct, _captions)
    return [finding for part in parts for finding in part(contrasts)]


def _epochs(contrasts: Contrasts) -> Iterator[Finding]:
    for metric, expected in MORE_TRAINING.items():
        without = OVERTRAINED if metric == FIDELITY else ()
        rows = contrasts.between_epochs(contrasts.scores(metric, TYPES[metric], without=without))
        what = ", ".join(["more epochs", *(f"not {_plain(category)}" for category in without)])
        yield _difference(1, f"{what}: {NAMES[metric]}", expected, rows)
    for category in OVERTRAINED:
        rows = contrasts.between_epochs(contrasts.scores(FIDELITY, GENERAL, category))
        yield _difference(1, f"more epochs, {_plain(category)}: image similarity", "lower", rows)
    on_alter = contrasts.scores(CONTROL, ("alter",), "anime_characters")
    statement = "more epochs, anime characters: text similarity on alter"
    yield _difference(1, statement, "higher", contrasts.between_epochs(on_alter))
    wide = list(contrasts.configs.query("algorithm == 'loha' and dim == 16 and alpha == 8").index)
    rows = contrasts.between_epochs(contrasts.scores(CONTROL, ("alter",)), wide)
    yield _difference(1, "more epochs, LoHa 16/8: text similarity on alter", "higher", rows)


def _learning_rate(contrasts: Contrasts) -> Iterator[Finding]:
    pairs = contrasts.neighbours("lr")
    for metric, expected in MORE_TRAINING.items():
        rows = contrasts.between_configs(contrasts.scores(metric, TYPES[metric]), pairs)
        yield _difference(2, f"higher learning rate: {NAMES[metric]}", expected, rows)
    native = contrasts.configs.query("algorithm == 'native'")
    lowest = [pair for pair in pairs if pair[0] in native.index[native["lr"] == native["lr"].min()]]
    rows = contrasts.rescued(contrasts.scores(FIDELITY, GENERAL), lowest)
    statement = "native, lowest rate at the last epoch against the next rate at the first: image similarity"
    yield _difference(2, statement, "lower", rows)


def _layers(contrasts: Contrasts) -> Iterator[Finding]:
    for other, name in (("attention", "attention layers only"), ("full", "convolutions as well")):
        pairs = contrasts.levels("trained_layers", "linear", other)
        for metric, types in ((metric, TYPES[metric]) for metric in NAMES):
            expected: Expected = "equal" if other == "full" else "lower" if metric == FIDELITY else "higher"
            rows = contrasts.between_configs(contrasts.scores(metric, types), pairs)
            yield _difference(3, f"{name}: {NAMES[metric]}", expected, rows)


def _capacity(contrasts: Contrasts) -> Iterator[Finding]:
    ratio = contrasts.configs["alpha"] / contrasts.configs["dim"]
    dims = contrasts.neighbours("dim", ignoring=("alpha",))
    larger = [(low, high) for low, high in dims if np.isclose(ratio[low], ratio[high])]
    larger += [(high, low) for low, high in contrasts.neighbours("factor")]
    for metric, expected in MORE_TRAINING.items():
        rows = contrasts.between_configs(contrasts.scores(metric, TYPES[metric]), larger)
        yield _difference(4, f"larger dim at equal alpha/dim, smaller factor: {NAMES[metric]}", expected, rows)
    damped = [(low, high) for low, high in dims if contrasts.configs["alpha"][high] == 1 and ratio[high] < ratio[low]]
    rows = contrasts.between_configs(contrasts.scores(FIDELITY, GENERAL), damped)
    yield _difference(4, "larger dim with alpha 1: image similarity", "lower", rows)


def _native(contrasts: Contrasts) -> Iterator[Finding]:
    wanted: tuple[tuple[str, str, Expected], ...] = (
        (FIDELITY, "train", "higher"), (CONTROL, "alter", "higher"), (FIDELITY, "alter", "lower"),
    )  # fmt: skip
    for metric, type_, expected in wanted:
        rows = contrasts.between_configs(contrasts.scores(metric, (type_,)), _against_others(contrasts, "native"))
        yield _difference(5, f"native against the others: {NAMES[metric]} on {type_}", expected, rows)


def _preservation(contrasts: Contrasts) -> Iterator[Finding]:
    for best, category in (("native", "movie_characters"), ("lora", "scenes")):
        scores = contrasts.scores(PRESERVATION, TYPES[PRESERVATION], category)
        rows = contrasts.between_configs(scores, _against_others(contrasts, best))
        yield _difference(6, f"{best} against the others, {_plain(category)}: style preservation", "higher", rows)


def _distinct(contrasts: Contrasts) -> Iterator[Finding]:
    found = {metric: contrasts.scores(metric, types) for metric, types in TYPES.items()}
    for metric in (DIVERSITY, CONTROL, PRESERVATION):
        statement = f"correlation of {NAMES[metric]} and image similarity"
        yield _correlation(statement, "negative", correlations(found[metric], found[FIDELITY]))
    for first, second in ((DIVERSITY, CONTROL), (DIVERSITY, PRESERVATION), (CONTROL, PRESERVATION)):
        statement = f"correlation of {NAMES[first]} and {NAMES[second]}"
        yield _correlation(statement, "below 0.5", correlations(found[first], found[second]))
    cosines, centroids = (correlations(found[DIVERSITY], found[metric]).abs() for metric in (FIDELITY, CENTROIDS))
    statement = "Vendi score correlates less with centroids than with cosines: difference of |r|"
    yield _correlation(statement, "higher", cosines - centroids)
    for metric in (FIDELITY, CONTROL):
        for first, second in (("train", "trigger"), ("train", "alter"), ("trigger", "alter")):
            each = [contrasts.scores(metric, (type_,)) for type_ in (first, second)]
            statement = f"correlation of {NAMES[metric]} on {first} and on {second}"
            yield _correlation(statement, "below 0.5", correlations(*each))


def _captions(contrasts: Contrasts) -> Iterator[Finding]:
    """The last of the three follows from the others, and can be asked where nobody trained with adjusted tags."""
    bare: dict[str, Expected] = {FIDELITY: "higher", CONTROL: "lower", PRESERVATION: "lower", DIVERSITY: "higher"}
    full: dict[str, Expected] = {FIDELITY: "lower", CONTROL: "higher", PRESERVATION: "higher", DIVERSITY: "higher"}
    either: dict[str, Expected] = {FIDELITY: "lower", CONTROL: "higher", PRESERVATION: "higher"}
    for kind, other, wanted in (
        (NO_TAGS, ADJUSTED_TAGS, bare),
        (ALL_TAGS, ADJUSTED_TAGS, full),
        (ALL_TAGS, NO_TAGS, either),
    ):
        pairs = contrasts.levels(CAPTIONS, other, kind)
        for metric, expected in wanted.items():
            rows = contrasts.between_configs(contrasts.scores(metric, TYPES[metric]), pairs)
            yield _difference(8, f"{kind} against {other}: {NAMES[metric]}", expected, rows)


def _against_others(contrasts: Contrasts, algorithm: str) -> list[tuple[str, str]]:
    """Pairs of an algorithm's default config with those of the others at equal captions, its own second."""
    return [
        (config, defaults[algorithm])
        for defaults in contrasts.defaults()
        for name, config in defaults.items()
        if algorithm in defaults and name != algorithm
    ]


def _plain(category: str) -> str:
    return category.replace("_", " ")


def _difference(claim: int, statement: str, expected: Expected, rows: pd.DataFrame) -> Finding:
    if rows.empty:
        return Finding(claim, statement, expected, None, "not measured")
    # One category that was measured as a whole: what is said is said of its classes as they are, over other trainings.
    whole = rows["class"].nunique() == 1 and rows["class"].iloc[0].endswith("/")
    groupings = ("run",) if whole else ("class", "run")
    return _finding(claim, statement, expected, rows["difference"], *(rows[name] for name in groupings))


def _correlation(statement: str, expected: Expected, found: pd.Series) -> Finding:
    found = found.dropna()
    if found.empty:
        return Finding(7, statement, expected, None, "not measured")
    return _finding(7, statement, expected, found, found.index)


def _finding(claim: int, statement: str, expected: Expected, values: pd.Series, *groupings: pd.Series) -> Finding:
    arrays = [np.asarray(each) for each in (values, *groupings)]
    effect = clustered_mean(*arrays)
    return Finding(claim, statement, expected, effect, _verdict(expected, effect), bootstrap_interval(*arrays))


def _verdict(expected: Expected, effect: ClusteredMean) -> Verdict:
    low, high = effect.low, effect.high
    if expected == "equal":
        inside, outside = low >= -MARGIN and high <= MARGIN, low > MARGIN or high < -MARGIN
    elif expected == "higher":
        inside, outside = low > 0, high < 0
    else:
        limit = 0.5 if expected == "below 0.5" else 0.0
        inside, outside = high < limit, low > limit
    return "holds" if inside else "does not hold" if outside else "cannot be told"
