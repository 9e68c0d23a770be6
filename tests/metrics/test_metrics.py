"""Each metric on features whose answer is known, and what holds for every metric file."""

import itertools

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lorabench import components
from lorabench.components import MetricInputs
from lorabench.records import PROMPT_TYPES

RNG = np.random.default_rng(0)
WIDTH = 3 * 8 * 8  # for metrics that take features for a small picture
GENERATED = RNG.normal(0.3, 1, (12, WIDTH)).astype(np.float32)
OTHER = RNG.normal(0.0, 1, (12, WIDTH)).astype(np.float32)
NAMES = components.names("metrics")


def _inputs(**changes) -> MetricInputs:
    everything = {
        "generated": GENERATED,
        "prompt_index": np.arange(12) // 4,
        "prompt_type": "train",
        "dataset": OTHER[:7],
        "base": OTHER,
        "text": OTHER,
    }
    return MetricInputs(**{**everything, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_keeps_the_contract(name):
    metric = components.find("metrics", name)
    assert metric.name == name
    assert metric.encoders and metric.description and metric.version >= 1
    assert set(metric.prompt_types) <= set(PROMPT_TYPES) and metric.prompt_types
    answer = metric.compute(_inputs())
    assert np.isfinite(answer.value)
    order = np.random.default_rng(1).permutation(12)
    shuffled = _inputs(
        generated=GENERATED[order], prompt_index=(np.arange(12) // 4)[order], base=OTHER[order], text=OTHER[order]
    )
    assert metric.compute(shuffled).value == pytest.approx(answer.value, rel=1e-9)  # sums in another order


@pytest.mark.parametrize("name", NAMES)
def test_no_images_are_a_missing_value_with_a_reason(name):
    nothing = np.zeros((0, WIDTH), dtype=np.float32)
    empty = _inputs(generated=nothing, prompt_index=np.zeros(0, dtype=int), base=nothing, text=nothing)
    answer = components.find("metrics", name).compute(empty)
    assert np.isnan(answer.value) and answer.reason


def test_the_better_set_wins_in_the_direction_that_the_metric_names():
    """The data set itself beats random features wherever the metric compares with the data set."""
    for name in NAMES:
        metric = components.find("metrics", name)
        if metric.compares_with == ("dataset",) and name != "copy_rate":  # for it the same set is the worst
            same = metric.compute(_inputs(dataset=GENERATED)).value
            other = metric.compute(_inputs(dataset=-GENERATED)).value
            assert (same > other) == metric.higher_is_better, name


def test_vendi_is_per_prompt_for_alter_and_over_all_images_otherwise():
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)  # three prompts, four equal images each
    vendi = components.find("metrics", "vendi")
    prompts = np.arange(12) // 4
    assert vendi.compute(_inputs(generated=features, prompt_index=prompts, prompt_type="alter")).value == pytest.approx(
        1
    )
    assert vendi.compute(_inputs(generated=features, prompt_index=prompts, prompt_type="train")).value == pytest.approx(
        3
    )
    alone = vendi.compute(_inputs(generated=features, prompt_index=np.arange(12), prompt_type="alter"))
    assert np.isnan(alone.value) and "at least 2 images of one prompt" in alone.reason


def test_text_similarity_skips_images_without_text():
    text_similarity = components.find("metrics", "text_similarity")
    text = GENERATED.copy()
    text[5:] = np.nan
    assert text_similarity.compute(_inputs(text=text)).value == pytest.approx(1)
    answer = text_similarity.compute(_inputs(text=np.full_like(text, np.nan)))
    assert np.isnan(answer.value) and "No image has a text" in answer.reason


def test_style_losses_pair_with_the_base_model_and_with_every_data_set_image():
    base = components.find("metrics", "style_loss_base").compute(_inputs()).value
    data = components.find("metrics", "style_loss_data").compute(_inputs()).value
    difference = GENERATED[:, None].astype(np.float64) - OTHER[None].astype(np.float64)
    squares = np.square(difference).sum(axis=2)
    assert base == pytest.approx(np.diag(squares).mean(), rel=1e-12)
    assert data == pytest.approx(squares[:, :7].mean(), rel=1e-12)


def test_psnr_and_ssim_of_pairs():
    pictures = RNG.random((5, 8, 8, 3)).astype(np.float32)
    generated, dataset = pictures[:2].reshape(2, -1), pictures[2:].reshape(3, -1)
    inputs = _inputs(generated=generated, prompt_index=np.zeros(2, int), dataset=dataset)
    expected = [peak_signal_noise_ratio(b, a, data_range=1) for a in pictures[:2] for b in pictures[2:]]
    assert components.find("metrics", "psnr").compute(inputs).value == pytest.approx(np.mean(expected), rel=1e-5)
    expected = [_ssim(a, b) for a in pictures[:2] for b in pictures[2:]]
    assert components.find("metrics", "ssim").compute(inputs).value == pytest.approx(np.mean(expected), rel=1e-5)


def _ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Wang et al. (2004), equation 13, over windows of 7 x 7 that lie within the picture, sample (co)variances."""
    values = []
    for y, x, channel in itertools.product(range(2), range(2), range(3)):
        a, b = (picture[y : y + 7, x : x + 7, channel].ravel().astype(float) for picture in (first, second))
        c1, c2 = 0.01**2, 0.03**2
        (va, cov), (_, vb) = np.cov(a, b)
        brightness = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        values.append(brightness * (2 * cov + c2) / (va + vb + c2))
    return float(np.mean(values))
