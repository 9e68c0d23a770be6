"""Decisions round by round: what is told is drawn no more, and any interruption comes to the same."""

import numpy as np
import pandas as pd
import pytest

from lorabench.statistics.decisions import Parts, decide, rounds


def parts(means, of_seed=0.05, noise=0.5, seed=0, classes=6, seeds=3, images=16):
    rng = np.random.default_rng(seed)
    count = len(means)
    lucky = of_seed * rng.normal(size=(1, count, seeds, 1)) + 0.05 * rng.normal(size=(classes, count, 1, 1))
    values = np.asarray(means)[:, None, None] + lucky + noise * rng.normal(size=(classes, count, seeds, images))
    leaves = pd.DataFrame({"category": "toys", "class_name": [f"c{n}" for n in range(classes)], "subclass": ""})
    return Parts(values, leaves, range(seeds), [])


def run(of, **how):
    drawn = np.zeros(of.values.shape[1], int)
    while not (found := decide(of, drawn, **how)).is_over:
        drawn = np.maximum(drawn, found.wants)
    return found, drawn


def test_rounds_are_halvings_of_the_whole():
    assert rounds(8) == (1, 2, 4, 8) and rounds(100) == (7, 13, 25, 50, 100) and rounds(1) == (1,)


def test_what_is_told_worse_is_drawn_no_more():
    found, drawn = run(parts([0.0, -0.1, -5.0, -5.0, -5.0, -5.0]))
    assert (found.verdict[2:] == "worse").all() and (drawn[2:] == found.since[2:]).all() and drawn[2:].max() <= 2
    assert found.verdict[found.score.argmax()] == "best" and drawn[:2].min() > drawn[2:].max()
    assert (found.high[2:] < 0).all() and found.worse[2:, 0].all()


def test_any_interruption_comes_to_the_same_decisions():
    """Images that lie there already, of a round that was cut off anywhere, change nothing."""
    of = parts(np.linspace(0, -1.5, 8), noise=1.0)
    whole, spent = run(of)
    rng = np.random.default_rng(0)
    drawn, steps = np.zeros(8, int), 0
    while not (found := decide(of, drawn)).is_over:
        lacking = np.flatnonzero(drawn < found.wants)
        some = rng.choice(lacking, rng.integers(1, len(lacking) + 1), replace=False)
        drawn[some], steps = found.wants[some], steps + 1
    assert steps > len(rounds(16)) and (drawn == spent).all()
    for name in ("verdict", "since", "score"):
        assert (getattr(found, name) == getattr(whole, name)).all()


def test_what_only_further_trainings_can_tell_is_not_drawn_on():
    found, drawn = run(parts([0.0, -0.6, -0.6, -0.6], of_seed=1.0, noise=0.1))
    others = found.verdict != "best"
    assert set(found.verdict[others]) <= {"seeds", "open"} and drawn.max() < 16
    assert found.more_seeds[found.verdict == "seeds"].min() >= 1


def test_ties_within_a_margin_end_the_drawing():
    equal = parts([0.0, 0.0, -5.0, -5.0, -5.0, -5.0], of_seed=0.01, noise=0.02, classes=20)
    found, _ = run(equal, margin=0.3)
    assert sorted(found.verdict[:2]) == ["alike", "best"]
    assert "alike" not in run(equal)[0].verdict


def test_scores_are_ranks_within_each_leaf_of_what_was_drawn():
    of = parts([0.0, -1.0, -2.0])
    scores = of.scores(np.array([16, 16, 0]))
    assert scores[2].isna().all() and scores[[0, 1]].mean().tolist() == sorted(scores[[0, 1]].mean(), reverse=True)
    assert scores[[0, 1]].to_numpy().mean() == pytest.approx(0.5)
    collapsed = parts([0.0, -1.0, -2.0])
    collapsed.values[0, 0, 0, 0] = np.nan  # one image says nothing, the others of its set do
    assert np.isfinite(collapsed.scores(np.array([2, 2, 2])).to_numpy()).all()
