from __future__ import annotations

import pytest

from hotlap.report.words import FEW, how_sure, wilson


def test_the_interval_of_a_share():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_an_accuracy_of_few_images_says_how_far_it_may_be_off():
    assert how_sure(100 * 149 / 153, 153) == "95% interval 93.5 to 99.0%"
    assert how_sure(100.0, 36) == "95% interval 90.4 to 100.0%"
    assert how_sure(90.0, FEW - 1) != ""
    assert how_sure(90.0, FEW) == "", "of many nothing is said"
    assert how_sure(0.0, 0) == "", "nor of none"
