"""What a run says of itself beside its tables: the study, its data, its base model, its metrics."""

from __future__ import annotations

from typing import Any

from lorabench import config
from lorabench.components import Metric
from lorabench.pipeline import merging
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.spending import all_images, images_of


def study_facts(plan: Plan) -> dict[str, Any]:
    """The study as it was run, without what a machine alone could use."""
    facts: dict[str, Any] = {
        "name": plan.study.name,
        "description": plan.study.description,
        **_base_facts(plan),
        "dataset": plan.dataset.name,
        "dataset_revision": plan.dataset.revision,
        "dataset_license": plan.dataset.license,
        "assumptions": list(plan.remarks),
        "n_configs": len({checkpoint.config for checkpoint in plan.checkpoints if not checkpoint.is_base}),
        "n_checkpoints": sum(not checkpoint.is_base for checkpoint in plan.checkpoints),
        "seeds": list(plan.study.seeds),
        "images": _image_facts(plan),
        "encoders": plan.encoder_ids,
    }
    # Given files were trained elsewhere, with settings of their own.
    facts |= {"training": plan.study.training.model_dump(mode="json")} if plan.runs else {}
    facts |= {"merges": merging.facts(plan)} if plan.mergings else {}
    facts |= {"decided": _decided_facts(plan)} if plan.rounds else {}
    return facts | ({"anchors": plan.study.anchors} if plan.study.anchors else {})


def _decided_facts(plan: Plan) -> dict[str, Any]:
    """What was drawn in rounds, of how much, and by which rule."""
    said = plan.study.decide
    facts = {"rounds": len(plan.rounds), "images": sum(map(images_of, plan.rounds)), "all_images": all_images(plan)}
    return facts | {"rate": said.rate, "equivalent": said.equivalent, "budget": said.budget}


def _image_facts(plan: Plan) -> dict[str, Any]:
    images = plan.study.images
    prompts = {"prompts": config.portable(images.prompts)}
    return prompts if plan.own_sets else images.model_dump(mode="json") | prompts


def _base_facts(plan: Plan) -> dict[str, Any]:
    base = plan.base
    if base is None:
        return {"base": "none: the pictures were drawn elsewhere"}
    facts: dict[str, Any] = {"base": config.portable(base.source), "base_id": base.id, "base_files": base.files.facts()}
    others = {each.id: each for each in plan.bases.values()}
    if others:
        facts["drawn_with"] = {id_: config.portable(each.source) for id_, each in others.items()}
    return facts


def metric_facts_of(plan: Plan) -> list[dict[str, Any]]:
    """What each metric of a plan says of itself."""
    names = dict.fromkeys(request.metric for request in plan.requests)
    return [metric_facts(plan.measuring.metric(name)) for name in names]


def metric_facts(metric: Metric) -> dict[str, Any]:
    """What a metric says of itself, without its functions."""
    return {key: value for key, value in vars(metric).items() if key not in ("compute", "unbiased")}
