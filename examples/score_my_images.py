"""Score folders of generated images against a folder of real ones, without a base model.

    python examples/score_my_images.py generated/ real/ --study encoders.toml

A sub-folder of `generated/` is a checkpoint; prompts and seeds are read from the images, as AUTOMATIC1111, ComfyUI and
InvokeAI write them. Prints each measurement's mean over all classes, and beside them what real images score: fidelity's
ceiling. `--study` names weights of the encoders; the published ones are taken else.
"""

from __future__ import annotations

import argparse

import lorabench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generated")
    parser.add_argument("real")
    parser.add_argument("--study", help="a study file with [encoders]")
    parser.add_argument("--out", default="results/score_my_images")
    arguments = parser.parse_args()
    run = lorabench.score_images(
        arguments.generated, data=arguments.real, study=arguments.study, out=arguments.out, quiet=True
    )
    means = run.scores.pivot_table("value", "checkpoint", ["prompt_type", "metric", "encoder"])
    print(means.T.round(4).to_string())
    print(f"Report: {run.report}")


if __name__ == "__main__":
    main()
