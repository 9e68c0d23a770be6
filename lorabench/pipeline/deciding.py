"""Images in rounds: who is drawn in which, what the rounds so far decide, and what all of them come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.errors import UserError, unknown
from lorabench.pipeline.features import FeatureReader
from lorabench.pipeline.measuring import MetricRequest
from lorabench.pipeline.plan import Plan, Round
from lorabench.pipeline.tasks import SCORES_FILE, measured, prompt_index
from lorabench.records import Checkpoint, PromptSet
from lorabench.report.tables import Column, headline_columns, metric_infos, sorted_columns
from lorabench.stages import rounds
from lorabench.stages.score import MetricChoice, measured_parts
from lorabench.statistics.columns import DECISION_COLUMNS, LEAF, METRIC, with_whole_numbers
from lorabench.statistics.decisions import Decided, Parts, decide
from lorabench.statistics.decisions import rounds as looks_at

LEVEL = ["config", "epoch", "step", "scale"]  # what the trainings of a config with several seeds have in common


@dataclass(frozen=True)
class Judged:
    """What a criterion is decided by."""

    criterion: str
    request: MetricRequest
    prompt_type: str


@dataclass(frozen=True)
class Deciding:
    """The rounds of a plan."""

    plan: Plan

    @property
    def judged(self) -> tuple[Judged, ...]:
        """A measurement a criterion that is asked about: what a report judges it by. UserError."""
        plan, asked = self.plan, self.plan.study.decide.criteria
        drawn = {each.type for each in plan.prompt_sets}
        metrics = {each.metric: plan.measuring.metric(each.metric) for each in plan.requests}
        infos = metric_infos(list(metrics.values()))
        columns = [
            Column(type_, each.metric, each.encoder, each.resize, info=infos[each.metric])
            for each in plan.requests
            for type_ in metrics[each.metric].prompt_types
            if type_ in drawn and metrics[each.metric].scope == "leaf"
        ]
        found = {
            each.info.criterion: Judged(
                each.info.criterion, MetricRequest(each.metric, each.encoder, each.resize), each.prompt_type
            )
            for each in headline_columns(sorted_columns(columns))
        }
        for criterion in asked:
            if criterion not in found:
                raise UserError(
                    unknown("criterion", criterion, sorted(found), "decide.criteria, what this study measures")
                )
        return tuple(each for name, each in found.items() if not asked or name in asked)

    @property
    def part_sizes(self) -> dict[str, int]:
        """Images of a part, by prompt type: as many as the neediest of what is judged there takes."""
        per_set, sizes = self.plan.study.images.per_set, {}
        for each in self.judged:
            size = rounds.part_size(self.plan.measuring.metric(each.request.metric), per_set)
            sizes[each.prompt_type] = max(size, sizes.get(each.prompt_type, 1))
        return sizes

    def looks(self, prompt_type: str) -> tuple[int, ...]:
        """After how many parts of a set is looked."""
        return looks_at(self.plan.study.images.per_set // self.part_sizes[prompt_type])

    @property
    def trained(self) -> list[Checkpoint]:
        return [each for each in self.plan.checkpoints if not each.is_base]

    def parts(self, judged: Judged, gone: Sequence[Plan]) -> tuple[Parts, np.ndarray]:
        """What the rounds that are gone measured, and how many parts each level was drawn."""
        table, metric = levels_of(self.trained), self.plan.measuring.metric(judged.request.metric)
        found: dict[tuple[tuple[str, ...], str], list[float]] = {}
        drawn = np.zeros(table["level"].max() + 1, int)
        level_of = dict(zip(table["checkpoint"], table["level"]))
        size = self.part_sizes[judged.prompt_type]
        for each in gone:
            reached = np.zeros_like(drawn)
            for id_, sets in each.round.sets.items():
                if id_ in level_of:
                    counts = [len(one.requests) // size for one in sets if one.type == judged.prompt_type]
                    reached[level_of[id_]] = max([reached[level_of[id_]], *counts])
            drawn += reached
            for leaf, id_, values in _parts_in(each, judged):
                found.setdefault((leaf, id_), []).extend(values)
        count = self.looks(judged.prompt_type)[-1]
        return _as_parts(table, found, 1 if metric.higher_is_better else -1, count), drawn

    def decided(self, gone: Sequence[Plan]) -> dict[Judged, Decided]:
        """What the rounds that are gone decide of each criterion."""
        said = self.plan.study.decide
        return {each: decide(*self.parts(each, gone), said.rate, said.equivalent) for each in self.judged}

    def table(self, gone: Sequence[Plan]) -> pd.DataFrame:
        """A row a criterion and level: DECISION_COLUMNS, `low` to `high` its score less the best's.

        `images` of each set were drawn of it, `decided_after` so many of them (missing: it is not).
        """
        levels = levels_of(self.trained).drop_duplicates("level").sort_values("level")
        tables = []
        for judged, found in self.decided(gone).items():
            size = self.part_sizes[judged.prompt_type]
            measured_ = zip(METRIC, (judged.prompt_type, *vars(judged.request).values()))
            columns = {name: getattr(found, name) for name in ("verdict", "score", "low", "high", "more_seeds")}
            since = np.where(found.verdict == "images", np.nan, found.since * size)
            columns |= {"images": found.drawn * size, "decided_after": since}
            tables.append(levels.assign(criterion=judged.criterion, **dict(measured_), **columns))
        return with_whole_numbers(pd.concat(tables, ignore_index=True)[DECISION_COLUMNS])

    def round(self, gone: Sequence[Plan]) -> Plan | None:
        """The plan of the next round; None where there is none to draw."""
        table = levels_of(self.trained)
        wanted: dict[str, dict[str, tuple[int, int]]] = {}  # checkpoint -> prompt type -> parts from, to
        for judged, found in self.decided(gone).items():
            drawn = found.drawn
            for id_, level in zip(table["checkpoint"], table["level"]):
                if found.wants[level] > drawn[level]:
                    types = wanted.setdefault(id_, {})
                    before, after = types.get(judged.prompt_type, (drawn[level], 0))
                    types[judged.prompt_type] = (min(before, drawn[level]), max(after, found.wants[level]))
        if not wanted:
            return None
        for each in self.plan.checkpoints:
            if each.is_base:
                of_all = [types for id_, types in wanted.items() if self._floor(id_) is each]
                spans = {kind: [types[kind] for types in of_all if kind in types] for types in of_all for kind in types}
                wanted[each.id] = {
                    kind: (min(first for first, _ in of), max(last for _, last in of)) for kind, of in spans.items()
                }
        sets = {id_: tuple(self._share(types)) for id_, types in wanted.items()}
        asked = tuple(each for each in self.plan.checkpoints if sets.get(each.id))
        return replace(self.plan, checkpoints=asked, round=Round(len(gone) + 1, sets, self.part_sizes))

    def _floor(self, id_: str) -> Checkpoint | None:
        return self.plan.floor_of(self.plan.checkpoint_by_id[id_])

    def _share(self, types: Mapping[str, tuple[int, int]]) -> Iterator[PromptSet]:
        """Of each set the images of some parts, in the order in which they are drawn."""
        for each in self.plan.prompt_sets:
            if each.type in types:
                order = rounds.order_of(prompt_index(each), each.concept.id, each.type)
                first, last = (parts * self.part_sizes[each.type] for parts in types[each.type])
                yield replace(each, requests=tuple(each.requests[place] for place in order[first:last]))


def _parts_in(plan: Plan, judged: Judged) -> Iterator[tuple[tuple[str, ...], str, Sequence[float]]]:
    """(leaf, checkpoint, values of its parts) of one round, as far as it was scored."""
    for checkpoint in plan.checkpoints:
        folder = plan.places.scores(checkpoint)
        if checkpoint.is_base or not plan.folder.holds(folder, plan.keys.scores(checkpoint)):
            continue
        rows = store.read_table(plan.folder.intact(folder, SCORES_FILE))
        asked = dict(zip(METRIC, (judged.prompt_type, *vars(judged.request).values())))
        rows = rows[(rows[METRIC].fillna("") == pd.Series(asked)[METRIC]).all(axis=1)]
        for row in rows.to_dict("records"):
            yield tuple(row[name] for name in LEAF), checkpoint.id, row["parts"]


def of_all_rounds(plan: Plan) -> pd.DataFrame:
    """The scores of a plan's rounds as one table of scores: a value is the mean over the parts of all rounds.

    So values compare whatever was drawn of each. What has no parts stands as the first round has it, in which all
    checkpoints draw as many: what real images score, metrics of all concepts at once, and those of whole sets where
    nothing that is decided takes more than single images.
    """
    tables = []
    for one in plan.rounds:
        for checkpoint in one.checkpoints:
            folder = one.places.scores(checkpoint)
            if one.folder.holds(folder, one.keys.scores(checkpoint)):
                tables.append(store.read_table(one.folder.intact(folder, SCORES_FILE)))
    rows = pd.concat(tables, ignore_index=True)
    keys = ["checkpoint_id", *LEAF, *METRIC]
    groups = rows.groupby(keys, sort=False, dropna=False)
    found = groups.agg({"reason": "first", "n_images": "sum", "value": "first", "parts": _joined, "per_image": _joined})
    means = np.array([np.nanmean(parts) if np.isfinite(parts).any() else np.nan for parts in found["parts"]])
    has_parts = np.array([len(parts) > 0 for parts in found["parts"]])
    found["value"] = np.where(has_parts, means, found["value"])
    found["reason"] = found["reason"].where(found["value"].isna(), "")
    found["blocks"] = [()] * len(found)
    return found.reset_index()


def _joined(lists: pd.Series) -> tuple[float, ...]:
    return tuple(value for each in lists for value in each)


def levels_of(checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    """A row a checkpoint: its level (number), what that is called, algorithm and seed."""
    table = pd.DataFrame([{**vars(each), "checkpoint": each.id} for each in checkpoints])
    level = table.groupby(LEVEL, sort=False, dropna=False).ngroup()
    return table.assign(level=level)[["checkpoint", "level", "algorithm", "seed", *LEVEL]]


def parts_of(plan: Plan, request: MetricRequest, prompt_type: str, checkpoints: Sequence[Checkpoint]) -> Parts:
    """What a measurement says of the images of a study that was drawn all at once, part by part, from its features."""
    metric, found = plan.measuring.metric(request.metric), {}
    choice = MetricChoice(metric, request.encoder, request.resize)
    for checkpoint in checkpoints:
        reader = FeatureReader(plan, checkpoint)
        for leaf in measured(plan, checkpoint)[0]:
            if leaf.prompt_type == prompt_type:
                place = tuple(getattr(leaf.concept, name) for name in LEAF)
                found[place, checkpoint.id] = measured_parts(choice, leaf, reader).tolist()
    count = max(map(len, found.values()), default=0)
    return _as_parts(levels_of(checkpoints), found, 1 if metric.higher_is_better else -1, count)


def _as_parts(
    table: pd.DataFrame, found: Mapping[tuple[tuple[str, ...], str], Sequence[float]], sign: int, count: int
) -> Parts:
    leaves = list(dict.fromkeys(leaf for (leaf, _), parts in found.items() if len(parts)))
    seeds = sorted(set(table["seed"]))
    values = np.full((len(leaves), table["level"].max() + 1, len(seeds), count), np.nan)
    for row in table.itertuples():
        for place, leaf in enumerate(leaves):
            parts = found.get((leaf, row.checkpoint), ())
            values[place, row.level, seeds.index(row.seed), : len(parts)] = sign * np.asarray(parts)
    first = table.drop_duplicates("level").sort_values("level")
    families = [pd.factorize(first[name])[0] for name in ("config", "algorithm")]
    return Parts(values, pd.DataFrame(leaves, columns=LEAF), seeds, families)
