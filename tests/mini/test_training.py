"""The recipe: resumable, repeatable from its record, and losses that say what their names say."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.multiprocessing as mp
from toy_task import ToyTask

from lorabench.mini import parallel
from lorabench.mini.banks import IDENTITIES, identities, view
from lorabench.mini.build import replay
from lorabench.mini.parallel import Plan, Recipe
from lorabench.mini.renderer import render
from lorabench.mini.train_encoders import identity_loss, style_triplet_loss
from lorabench.mini.training_data import describe, load, prepare


def test_a_stopped_training_goes_on_as_if_it_had_not_and_its_start_can_be_replayed(tmp_path, monkeypatch):
    # Six processes are started: from one that has loaded torch already.
    multiprocessing.set_forkserver_preload(["toy_task", "lorabench.mini.parallel"])
    monkeypatch.setattr(mp, "spawn", partial(mp.start_processes, start_method="forkserver"))
    results = {}
    for name, stops in (("whole", [8]), ("stopped", [5, 8])):
        (tmp_path / name).mkdir()
        plan = Plan("toy", Recipe(8, 0.05, 4, warmup=2, save_every=5), 3, tmp_path / name)
        for last in stops:
            # The rate of a step must not depend on where the training stops: flat up to the end.
            recipe = replace(plan.recipe, steps=last, decay_from=1.0)
            result = parallel.train(replace(plan, recipe=recipe), partial(ToyTask, tmp_path / name))
        results[name] = torch.load(tmp_path / name / "exported.pth"), result["first_losses"]
    whole, stopped = results["whole"], results["stopped"]
    assert all(torch.equal(whole[0][name], stopped[0][name]) for name in whole[0])
    again = parallel.replay(replace(plan, recipe=recipe), partial(ToyTask, tmp_path))
    assert np.allclose(again["first_losses"], whole[1], rtol=1e-5) and len(whole[1]) == parallel.FIRST_LOSSES


def test_pictures_made_when_asked_for_are_those_that_are_kept(tmp_path):
    kept, asked = prepare(tmp_path / "kept", 5, 9, processes=1), describe(tmp_path / "asked", 5, 9)
    index = np.array([4, 0, 2])
    for name in ("pixels", "captions", "labels"):
        assert (load(kept, name)[index] == load(asked, name)[index]).all()
    which = (np.array([0, 300]), np.array([7, 1]))
    assert (identities(asked)[which][1] == render(view(300, 1, 9))).all()


def test_views_of_an_identity_show_the_same_subject_elsewhere():
    for identity in (0, 250, len(IDENTITIES) - 1):
        pictures = [view(identity, number, 1) for number in range(8)]
        assert {(p.subject, p.color, p.hair, p.hair_style) for p in pictures} == {IDENTITIES[identity]}
        assert len({p.scene for p in pictures}) > 2


def test_first_losses_of_the_record_come_again():
    for row in replay(["autoencoder", "vgg19"]):
        assert row["difference"] < 0.01, row


def test_identity_loss_is_supervised_contrast():
    rng = np.random.default_rng(0)
    features, who = rng.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        normaliser = sum(np.exp(unit[i] @ unit[j] / 0.1) for j in others)
        same = [j for j in others if who[j] == who[i]]
        total -= np.mean([np.log(np.exp(unit[i] @ unit[j] / 0.1) / normaliser) for j in same])
    found = identity_loss(torch.from_numpy(features), torch.from_numpy(who), temperature=0.1)
    assert np.isclose(float(found), total / 6)


def test_style_triplet_loss_counts_every_triplet():
    grams = np.random.default_rng(1).normal(size=(3, 2, 5))
    terms = []
    for s in range(3):
        for c in range(2):
            for d in {0, 1} - {c}:
                for t in {0, 1, 2} - {s}:
                    near = np.log(((grams[s, c] - grams[s, d]) ** 2).sum())
                    far = np.log(((grams[s, c] - grams[t, c]) ** 2).sum())
                    terms.append(np.log1p(np.exp(2 * (near - far + 1.0))) / 2)
    assert np.isclose(float(style_triplet_loss(torch.from_numpy(grams), margin=1.0)), np.mean(terms))
