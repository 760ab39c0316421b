"""Views at test time against images moved by hand, and views for the uncertain alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import FP32, FP64, noise_dataset, program
from hotlap.engine import views as module
from hotlap.engine.evaluate import evaluate
from hotlap.engine.views import all_logits
from hotlap.nets import AirNet, WhitenStem
from hotlap.plan import Plan
from hotlap.tricks.flip_tta import FlipTta
from hotlap.tricks.multi_crop_tta import MultiCropTta
from hotlap.tricks.uncertain_tta import UncertainTta
from reference import augment_slow as slow

DATA = noise_dataset((3, 9, 12), classes=4, train=40, test=30)
PLAN = Plan(net=AirNet(widths=(6, 6), stem=WhitenStem(images=20), logit_scale=2.0), batch_size=10, epochs=3.0)

# (mirrored, the image moved down and right by, weight)
HAND = {
    "none": [(False, 0, 1)],
    "flip": [(False, 0, 1 / 2), (True, 0, 1 / 2)],
    "flip_translate": [
        *((False, 0, 1 / 4), (True, 0, 1 / 4)),
        *((False, -1, 1 / 8), (True, -1, 1 / 8), (False, 1, 1 / 8), (True, 1, 1 / 8)),
    ],
    "flip_translate_even": [(flip, by, 1 / 6) for flip in (False, True) for by in (-1, 0, 1)],
}


def trained(plan: Plan = PLAN, backend=FP64):
    made = program(plan, DATA, backend)
    for start, stop in made.segments(0, None):
        made.run(start, stop)
    return made


def logits_of(made, tta: str, share: float = 1.0) -> torch.Tensor:
    return all_logits(made.model, made.evaluation_weights(), made.test_set, tta, share)


@pytest.mark.parametrize("tta", HAND)
def test_views_are_averaged_logits_of_images_moved_and_mirrored_by_hand(tta):
    made = trained()
    want = torch.zeros(30, 4, dtype=torch.float64)
    made.model.eval()
    for flip, by, weight in HAND[tta]:
        views = []
        for image in DATA.test.images:
            x = slow.normalised(image, DATA.spec.mean, DATA.spec.std)
            x = slow.moved(x, -by, -by)  # moved down: each pixel is read from further up
            views.append(slow.flipped(x) if flip else x)
        with torch.no_grad():
            want += weight * made.model(torch.from_numpy(np.stack(views)))
    assert torch.allclose(logits_of(made, tta), want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("tta", ["flip", "flip_translate"])
def test_only_the_least_certain_get_the_further_views(tta, share):
    made = trained()
    plain, all_views = (logits_of(made, t) for t in ("none", tta))
    certainty = [max(row) for row in plain.softmax(1).tolist()]
    ranked = sorted(range(30), key=lambda n: certainty[n])
    again = set(ranked[: round(30 * share)])
    got = logits_of(made, tta, share)
    for n in range(30):
        # another batch of images can be summed in another order
        assert torch.allclose(got[n], (all_views if n in again else plain)[n], rtol=1e-9, atol=1e-12)
        assert not torch.allclose(all_views[n], plain[n], rtol=1e-3)
    if share == 1:
        assert torch.equal(got, all_views)


def test_a_plain_view_that_is_known_is_not_computed_again():
    made, seen = trained(), []
    made.model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    logits_of(made, "flip_translate", 0.5)
    assert sum(seen) == 30 + 15 * 5  # of six views one is plain


def test_the_tricks_say_what_is_evaluated():
    labels = DATA.test.labels
    made = trained()
    for tricks, tta, share, views in (
        ((), "none", 1.0, 1),
        ((FlipTta(),), "flip", 1.0, 2),
        ((MultiCropTta(),), "flip_translate", 1.0, 6),
        ((MultiCropTta(even=True), UncertainTta(0.25)), "flip_translate_even", 0.25, 6),
    ):
        plan = made.plan
        for trick in tricks:
            plan = trick(plan)
        made.plan, kept = plan, made.plan
        found, logits = evaluate(made), logits_of(made, tta, share)
        made.plan = kept
        assert (found.views, found.count) == (views, 30)
        assert found.accuracy == pytest.approx(100 * float(np.mean(logits.argmax(1).numpy() == labels)))
        rows = logits.log_softmax(1)[torch.arange(30), torch.from_numpy(labels)]
        assert found.loss == pytest.approx(-rows.mean().item(), rel=1e-5)


def test_evaluating_changes_nothing_and_an_explicit_view_is_for_every_image():
    made = trained(replace(PLAN, evaluation=replace(PLAN.evaluation, tta="flip", share=0.2)), FP32)
    before = {k: v.clone() for k, v in made.state().items()}
    made.model.train()
    assert evaluate(made).loss != evaluate(made, "flip").loss
    assert made.model.training
    assert all(torch.equal(v, made.state()[k]) for k, v in before.items())


@pytest.mark.parametrize(("side", "sizes"), [(16, [10]), (32, [10]), (64, [4, 4, 2]), (256, [1] * 10)])
def test_larger_images_go_through_the_net_fewer_at_a_time(monkeypatch, side, sizes):
    monkeypatch.setattr(module, "BATCH", 16)
    data = noise_dataset((3, side, side), classes=2, train=20, test=10)
    made = program(replace(PLAN, epochs=1.0), data, FP32)
    seen: list[int] = []
    made.model.register_forward_pre_hook(lambda model, args: seen.append(len(args[0])))
    assert logits_of(made, "none").shape == (10, 2)
    assert seen == sizes
