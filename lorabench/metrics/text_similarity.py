"""Controllability as agreement of image and prompt."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.records import Value
from lorabench.statistics.similarity import paired_cosines


# No `style` prompts: the paper measures text similarity on the other three only.
@metric(
    criterion="controllability",
    higher_is_better=True,
    encoders=("clip",),
    prompt_types=("train", "trigger", "alter", "together"),
    compares_with=("text",),
)
def text_similarity(inputs: MetricInputs) -> np.ndarray | Value:
    """Mean cosine of each image with its own text for alignment, in [-1, 1] (LyCORIS D.4).

    Images whose text is empty are skipped; where all are (the trigger prompt of a style) there is no value.
    """
    has_text = ~np.isnan(inputs.text).any(axis=1)
    if not has_text.any():
        return Value(
            float("nan"), "No image has a text for alignment: nothing of the prompt is left without the trigger."
        )
    values = np.full(len(has_text), np.nan)
    values[has_text] = paired_cosines(inputs.generated[has_text], inputs.text[has_text])
    return values
