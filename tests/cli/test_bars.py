"""What is shown on the way: a bar on a terminal, gone when it is done, and elsewhere a line now and then."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from types import SimpleNamespace

import pytest
from rich.console import Console

from hotlap.cli import decoding, progress
from hotlap.cli.decoding import Decoding
from hotlap.cli.output import Output
from hotlap.cli.progress import TerminalReporter


@pytest.fixture
def screen(monkeypatch) -> io.StringIO:
    """What a terminal 100 columns wide is sent."""
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(Output, "console", lambda self: console)
    return sent


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    now = SimpleNamespace(s=100.0)
    for module in (decoding, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now.s)
    return now


def plain(sent: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", sent.getvalue())


def test_decoding_shows_a_bar_that_goes_when_it_is_done(screen):
    with Decoding(Output(False)) as shown:
        assert shown.bar is None  # nothing is shown of what takes no time
        shown.tell(0, 1200, 50.0)
        bar = shown.bar
        shown.tell(600, 1200, 2345.6)
        shown.bar.refresh()
        assert "decoding" in plain(screen)
        assert "600/1,200 images, 2,346/s" in plain(screen)
        assert shown.bar is bar
        shown.tell(1200, 1200, 2345.6)
        assert shown.bar is None
        assert not bar.live.is_started
        shown.tell(5, 10, 1.0)  # another set
        again = shown.bar
    assert again is not bar
    assert not again.live.is_started


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_a_bar_goes_whatever_ends_the_decoding(screen, end):
    bars = []
    with suppress(end), Decoding(Output(False)) as shown:
        shown.tell(1, 10, 1.0)
        bars.append(shown.bar)
        raise end
    assert [bar.live.is_started for bar in bars] == [False]


def test_elsewhere_decoding_says_a_line_each_ten_seconds(capsys, clock):
    with Decoding(Output(False)) as shown:
        for second in range(26):
            clock.s = 100.0 + second
            shown.tell(1000 * second, 30_000, 1000.4)
        assert shown.bar is None
    done = capsys.readouterr()
    assert (done.out + done.err).splitlines() == [
        "decoded 11,000 of 30,000 images, 1,000 images/s",
        "decoded 22,000 of 30,000 images, 1,000 images/s",
    ]


def started(shown: TerminalReporter) -> None:
    """As a run of 40 steps of 50 images begins."""
    plan = SimpleNamespace(batch_size=50, head=None)
    spec = SimpleNamespace(train_count=2000, test_count=500)
    parts = SimpleNamespace(
        plan=plan,
        steps=40,
        dataset=SimpleNamespace(spec=spec),
        backend=SimpleNamespace(device="cpu", in_words="fp32, channels-last", why="measured"),
        model=SimpleNamespace(parameters=list),
    )
    recipe = SimpleNamespace(name="demo", plan=lambda: plan)
    shown.start(SimpleNamespace(recipe=recipe, data="patterns", seed=3, folder="runs/x"), parts)


ROW = {
    "epoch": 2,
    "train_loss": 0.51234,
    "train_accuracy": 81.5,
    "test_accuracy": None,
    "train_s": 12.34,
    "images_per_s": 1234.5,
}


def test_training_shows_a_bar_below_its_rows(screen):
    with TerminalReporter(Output(False)) as shown:
        started(shown)
        bar = shown.bar
        shown.step(10, SimpleNamespace(seconds={"train": 1.0}))
        bar.refresh()
        assert "10/40" in plain(screen)
        shown.restart(SimpleNamespace(steps=60))  # as where there is more time than was thought
        bar.refresh()
        assert "10/60" in plain(screen)
        shown.looking(7, 9, 1.0)
        bar.refresh()
        assert "7/9" in plain(screen)
        shown.row(ROW)
        assert "    2       0.5123      81.50%                 12.3       1234" in plain(screen)
    assert not bar.live.is_started


def test_elsewhere_training_says_a_line_each_half_minute_between_rows(capsys, clock):
    with TerminalReporter(Output(False)) as shown:
        started(shown)
        assert shown.bar is None
        capsys.readouterr()
        for second in (10, 30, 31, 40, 62):
            clock.s = 100.0 + second
            shown.step(second, SimpleNamespace(seconds={"train": float(second)}))
        shown.row(ROW)
        for second in (80, 92, 93):
            clock.s = 100.0 + second
            shown.looking(second, 100, 12.3)
    said = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in said] == [
        "step 31 of 40, 31 s, 50 images/s",
        "step 62 of 40, 62 s, 50 images/s",
        "2       0.5123      81.50%                 12.3       1234",
        "looked at 93 of 100 images, 12 images/s",
    ]
