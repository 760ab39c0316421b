"""Evaluation: what the program's weights and views score. Draws nothing and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from hotlap.engine.program import Program
from hotlap.engine.views import VIEWS


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Args:
        accuracy: share of images classified right, in percent.
        loss: mean cross entropy, in nats, without label smoothing.
        count: images.
        views: views an image; where only some images get more than one, of those.
        share: of the images, those that get all the views.
    """

    accuracy: float
    loss: float
    count: int
    views: int
    share: float = 1.0


def score(logits: Tensor, labels: Tensor, views: int = 1, share: float = 1.0) -> Score:
    """Accuracy and loss of logits (N, classes) against labels (N,).

    A label of -1, of a class that the net does not know, counts as missed, and not in the loss.
    """
    right = (logits.argmax(1) == labels).sum().item()
    loss = F.cross_entropy(logits.float(), labels, ignore_index=-1).item()
    return Score(100.0 * right / len(labels), loss, len(labels), views, share)


def evaluate(program: Program, tta: str | None = None) -> Score:
    """The program's test accuracy, with the weights its plan evaluates.

    Args:
        tta: views of every image; None takes the plan's, of the share of images it says.
    """
    return evaluated(program, tta)[0]


def evaluated(program: Program, tta: str | None = None) -> tuple[Score, Tensor]:
    """As `evaluate`, with the logits (N, classes) it is from."""
    plan = program.plan.evaluation
    share = plan.share if tta is None else 1.0
    tta = plan.tta if tta is None else tta
    logits = program.logits(tta, share)
    return score(logits, program.test_set.labels, len(VIEWS[tta]), share), logits


def guessing_up_to(labels: npt.NDArray[np.int64]) -> float:
    """The accuracy in percent on images with these labels (N,) up to which a net does no better than by
    guessing: the commonest class for all of them, and three standard deviations of a share of N."""
    share = np.bincount(labels[labels >= 0], minlength=1).max() / len(labels)
    return float(100 * (share + 3 * (share * (1 - share) / len(labels)) ** 0.5))
