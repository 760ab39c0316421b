"""What all pictures share: how a figure starts, its colours, and how it is saved. Needs matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.errors import UserError
from hotlap.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, GREEN, RED, BLUE, AMBER = "0.6", "#0a5", "#c30", "#26c", "#d90"


def has_plots() -> bool:
    """Whether matplotlib is there."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def need_plots(what: str) -> None:
    """Refuse to start `what` where matplotlib is missing, before anything is computed.

    Raises:
        UserError: with the line that installs it.
    """
    if not has_plots():
        raise UserError(
            f"{what}: draws pictures with matplotlib, which is missing; pip install 'hotlap[plots]'"
        )


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """A figure of `width` x `height` inches and its axes: one, or an array (rows, columns) of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **subplots)
    for ax in getattr(axes, "flat", [axes]):
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure, axes


def plain_log_ticks(axis: Any) -> None:
    """Numbers as people write them at 1, 2 and 5 times the powers of ten of a log axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def svg_text(figure: Figure) -> str:
    """The figure as SVG; the same figure always gives the same text."""
    picture = io.BytesIO()
    _write(figure, picture, "svg")
    return picture.getvalue().decode()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the figure to `path`, whose suffix (.png or .svg) says how.

    Raises:
        UserError: if it cannot be written.
    """
    picture = io.BytesIO()
    _write(figure, picture, path.suffix[1:])
    write_atomic(path, picture.getvalue())
    return path


def _write(figure: Figure, to: io.BytesIO, kind: str) -> None:
    from matplotlib import rc_context

    # text as outlines looks the same everywhere; no random ids and no date in the file
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "hotlap"}):
        figure.savefig(to, format=kind, metadata={"Date": None} if kind == "svg" else None)
