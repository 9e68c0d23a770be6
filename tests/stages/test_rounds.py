"""The parts of an image set: spread over its prompts, the same for all, and without a bias of few images."""

import numpy as np
import pytest
from vendi_score import vendi

from lorabench import components
from lorabench.components import MetricInputs
from lorabench.stages.rounds import order_of, part_size, part_values

PROMPTS = np.repeat(np.arange(10), 10)


def values(name, inputs, order, kept=None):
    kept, metric = np.ones(len(order), bool) if kept is None else kept, components.find("metrics", name)
    size = part_size(metric, len(order))
    return part_values(metric, lambda metric, of: metric.compute(of), metric.compute(inputs), inputs, kept, order, size)


def inputs(n=16, seed=0, **more):
    rng = np.random.default_rng(seed)
    return MetricInputs(
        rng.normal(size=(n, 6)) + 1, np.zeros(n, int), "trigger", dataset=rng.normal(size=(9, 6)), **more
    )


def test_any_first_few_are_of_as_many_prompts_as_they_can_be():
    order = order_of(PROMPTS, "toys/duck", "alter")
    assert sorted(order) == list(range(100))
    for count in (3, 10, 15, 50, 77):
        of = np.bincount(PROMPTS[order[:count]], minlength=10)
        assert of.max() - of.min() <= 1
    assert (order == order_of(PROMPTS, "toys/duck", "alter")).all()
    assert (order != order_of(PROMPTS, "toys/panda", "alter")).any()


def test_every_image_and_prompt_comes_first_as_often():
    first = [order_of(PROMPTS, str(number))[0] for number in range(3000)]
    assert np.bincount(first, minlength=100).max() < 60 and np.bincount(PROMPTS[first]).min() > 230


def test_parts_are_images_where_each_has_a_value_and_sets_of_one_size_else():
    of, order = inputs(), np.random.default_rng(1).permutation(16)
    whole = components.find("metrics", "image_similarity").compute(of)
    assert values("image_similarity", of, order) == pytest.approx(whole.per_image[order])
    diversity, found = components.find("metrics", "vendi"), values("vendi", of, order)
    assert len(found) == 8 and (part_size(diversity, 16), part_size(diversity, 100)) == (2, 7)
    rows = of.generated[order[2:4]] / np.linalg.norm(of.generated[order[2:4]], axis=1, keepdims=True)
    assert found[1] == pytest.approx(vendi.score_dual(rows, q=1))


def test_an_image_that_collapsed_leaves_its_part_without_a_value():
    of, order, kept = inputs(15), np.arange(16), np.arange(16) != 5
    assert np.isnan(values("image_similarity", of, order, kept)).nonzero()[0].tolist() == [5]
    assert np.isnan(values("vendi", of, order, kept)).nonzero()[0].tolist() == [2]


def test_a_centroid_distance_of_two_images_is_in_the_mean_that_of_many():
    metric, whole = components.find("metrics", "squared_centroid_distance"), inputs(4000)
    truth = metric.compute(whole).value
    parts = [whole.generated[start : start + 2] for start in range(0, 4000, 2)]
    few = [MetricInputs(part, np.zeros(2, int), "trigger", dataset=whole.dataset) for part in parts]
    unbiased, plain = (
        [ask(each) for each in few] for ask in (metric.unbiased, lambda each: metric.compute(each).value)
    )
    error = np.std(unbiased) / np.sqrt(len(few))
    assert np.mean(unbiased) == pytest.approx(truth, abs=4 * error) and np.mean(plain) > truth + 10 * error
