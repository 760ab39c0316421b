"""Schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.errors import UserError
from hotlap.plan.schedule import Constant, Piecewise, Power, tabulate

knots = st.lists(st.floats(0, 1), min_size=1, max_size=6, unique=True).map(sorted)


@given(knots, st.floats(-0.5, 1.5), st.data())
def test_piecewise_is_linear_interpolation(positions, at, data):
    values = data.draw(st.lists(st.floats(-5, 5), min_size=len(positions), max_size=len(positions)))
    got = Piecewise(tuple(positions), tuple(values))(at)
    assert got == pytest.approx(np.interp(at, positions, values), rel=1e-6, abs=1e-6)


def test_piecewise_is_its_value_at_each_knot():
    for at in ("start", "end"):
        line = Piecewise((0.1, 0.4, 0.5, 1.0), (3.0, 7.0, 7.0, 2.0), at)
        assert [line(p) for p in line.progress] == [3.0, 7.0, 7.0, 2.0]
        assert (line(0.0), line(0.0999), line(1.5)) == (3.0, 3.0, 2.0)
        assert line(0.45) == 7.0
    assert [Piecewise((0.5,), (4.0,))(p) for p in (0.0, 0.5, 1.0)] == [4.0] * 3


def test_piecewise_refuses_what_is_no_function():
    with pytest.raises(UserError, match="increase"):
        Piecewise((0.0, 0.5, 0.5), (0.0, 1.0, 0.0))
    with pytest.raises(UserError, match="2 positions and 1 values"):
        Piecewise((0.0, 1.0), (0.0,))
    with pytest.raises(UserError, match="0 positions and 0 values"):
        Piecewise((), ())
    with pytest.raises(UserError, match="0 positions and 1 values"):
        Piecewise((), (1.0,))
    for positions in ((0.0, math.nan, 1.0), (math.nan, 1.0), (0.0, math.nan)):
        with pytest.raises(UserError, match="increase"):
            Piecewise(positions, (1.0,) * len(positions))


def test_tabulate_reads_steps_at_their_start_or_end():
    line = Piecewise((0.0, 1.0), (0.0, 8.0))
    assert tabulate(line, 4) == [0.0, 2.0, 4.0, 6.0]
    assert tabulate(Piecewise((0.0, 1.0), (0.0, 8.0), at="end"), 4) == [2.0, 4.0, 6.0, 8.0]
    assert tabulate(Constant(3.0), 2) == [3.0, 3.0]
    assert tabulate(Power(2.0, 3.0), 2) == [0.25, 2.0]
    assert tabulate(Power(2.0, 2.0, at="start"), 4) == [0.0, 0.125, 0.5, 1.125]
    assert tabulate(line, 0) == []
