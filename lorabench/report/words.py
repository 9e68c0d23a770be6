"""The words and number formats of the report: one place, so that page and figures agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

CRITERIA = {
    "fidelity": "Fidelity",
    "controllability": "Controllability",
    "diversity": "Diversity",
    "base_model_preservation": "Base model preservation",
    "memorisation": "Memorisation",
    "image_quality": "Image quality",
}
CRITERIA_MEANING = {
    "fidelity": "do the images show the concept?",
    "controllability": "do they follow the rest of the prompt?",
    "diversity": "do they differ from each other?",
    "base_model_preservation": "do other prompts still look as the base model draws them?",
    "memorisation": "are they copies of training pictures?",
    "image_quality": "do they look clean?",
}
_METRICS = {
    "squared_centroid_distance": "centroid distance",
    "vendi": "Vendi score",
    "style_loss_base": "base style preservation",
    "style_loss_data": "style distance to the data",
    "frechet_distance": "Fréchet distance",
}
_ENDINGS = {"_held_out": "{} to held-out pictures", "_gap": "gap of {}"}
_FACTORS = {
    "algorithm": "Algorithm",
    "trained_layers": "Trained layers",
    "epoch": "Epoch",
    "step": "Step",
    "capacity": "Capacity",
    "lr_level": "Learning rate level",
    "scale": "Merge ratio",
    "spectral_norm": "Spectral norm of the update",
    "stable_rank": "Stable rank of the update",
    "first_direction": "Share of the update's first direction",
    "relative_norm": "Norm of the update over the weights'",
    "vae": "VAE",
    "companion": "Adapter beside it",
    "companion_scale": "Merge ratio of the adapter beside it",
    "min_snr_gamma": "Min-SNR gamma",
    "text_encoder_lr": "Learning rate of the text encoder",
    "embedding_lr": "Learning rate of words",
}
_ALGORITHMS = {
    **{"lora": "LoRA", "loha": "LoHa", "lokr": "LoKr", "dora": "DoRA", "native": "native", "oft": "OFT"},
    "textual_inversion": "textual inversion",
}


def signal_words(signal: str) -> str:
    """A signal of `statistics.signals`: a loss, a metric and its prompt type, or a measure of weights."""
    if signal in _FACTORS:
        return _FACTORS[signal].lower()
    name, mark, rest = signal.partition("|" if "|" in signal else ", ")
    words = name.replace("_", " ").replace("held out", "held-out") if "loss" in name else metric_words(name)
    return f"{words}, {rest}" if mark else words


def criterion_words(criterion: str) -> str:
    return CRITERIA.get(criterion, criterion.replace("_", " "))


def metric_words(metric: str) -> str:
    for ending, words in _ENDINGS.items():
        if metric.endswith(ending):
            return words.format(metric_words(metric.removesuffix(ending)))
    return _METRICS.get(metric, metric.replace("_", " "))


def prompt_words(prompt_type: str) -> str:
    return f"{prompt_type} prompts"


def category_words(category: str) -> str:
    return "All classes" if category == "all" else category.replace("_", " ").capitalize()


def factor_words(factor: str) -> str:
    return _FACTORS.get(factor, factor.replace("_", " ").capitalize())


def algorithm_words(algorithm: str) -> str:
    family, _, of = algorithm.partition(":")
    if family == "dora" and of:
        return f"{_ALGORITHMS.get(of, of)} with DoRA"
    return of if family == "peft" and of else _ALGORITHMS.get(algorithm, algorithm)


def algorithm_order(algorithms: Sequence[str]) -> list[str]:
    """The paper's four first, then the others by name."""
    known = list(_ALGORITHMS)
    return sorted(set(algorithms), key=lambda name: (known.index(name) if name in known else len(known), name))


def learning_rate(value: float) -> str:
    """ "5e-4", as configs write it."""
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Seconds for people: "34 s", "12 min 05 s", "3 h 20 min", "1,200 h"."""
    if not math.isfinite(seconds):
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours = minutes / 60
    return f"{hours:,.0f} h" if hours >= 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Bytes for people, in powers of 1000: "520 kB", "2.1 GB"."""
    if not math.isfinite(count):
        return "not recorded"
    power = 0
    while abs(count) >= 999.5 and power < 4:
        count, power = count / 1000, power + 1
    unit = ("B", "kB", "MB", "GB", "TB")[power]
    return f"{count:.0f} {unit}" if power == 0 or count >= 99.5 else f"{count:.2g} {unit}"


def rounded(values: Iterable[float]) -> list[float | None]:
    """Five significant digits: more than a reader or a pixel can tell apart. None where there is no number."""
    return [float(f"{value:.5g}") if value == value and math.isfinite(value) else None for value in values]


def number(value: float, digits: int = 3) -> str:
    """A value with that many significant digits and a true minus sign, "–" where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:z.{digits}g}"
    if "e+" in text and abs(value) < _LONGEST:
        text = f"{float(text):,.0f}"
    return text.replace("-", "−")


_LONGEST = 1e6  # from here on a number is written with its exponent


def listed(names: Sequence[str], shown: int = 3) -> str:
    """ "a, b, c and 4 more"."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def count(n: int, noun: str, plural: str = "") -> str:
    """ "1 config", "8 configs", "1,204 images"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
