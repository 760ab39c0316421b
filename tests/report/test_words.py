from __future__ import annotations

import pytest

from hotlap.measure.stats import share_of
from hotlap.report.words import FEW, how_sure, wilson


@pytest.mark.parametrize(("k", "n"), [(50, 100), (10, 10), (0, 7), (1, 1), (149, 153), (9_400, 10_000)])
def test_the_interval_of_a_share_is_the_one_that_ladders_have(k, n):
    # 1.96 for 1.95996
    assert wilson(k / n, n) == pytest.approx(share_of(k, n).interval, abs=2e-5)


def test_an_accuracy_of_few_images_says_how_far_it_may_be_off():
    assert how_sure(100 * 149 / 153, 153) == "95% interval 93.5 to 99.0%"
    assert how_sure(100.0, 36) == "95% interval 90.4 to 100.0%"
    assert how_sure(90.0, FEW - 1) != ""
    assert how_sure(90.0, FEW) == "", "of many nothing is said"
    assert how_sure(0.0, 0) == "", "nor of none"
