"""What all pictures share: how a figure starts, its colours, and how it is saved. Needs matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.errors import UserError
from hotlap.files import write_atomic
from hotlap.report.svg import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, GREEN, RED, BLUE, AMBER = "0.6", "#0a5", "#c30", "#26c", "#d90"
SVG_SETTINGS = {
    "svg.hashsalt": "hotlap",  # no random ids
    "svg.fonttype": "none",  # letters as letters
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # as wide as each other
}
INSTALL = "pip install 'hotlap[plots]'"
NOT_DRAWN = f"not drawn, as matplotlib is missing; {INSTALL}"
# drawn dark on white, a picture turns about in the dark, as pages turn those they hold
IN_THE_DARK = "<style>@media (prefers-color-scheme:dark){svg{filter:invert(.91) hue-rotate(180deg)}}</style>"


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
        raise UserError(f"{what}: draws pictures with matplotlib, which is missing; {INSTALL}")


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
    from matplotlib import rc_context

    picture = io.StringIO()
    with rc_context(SVG_SETTINGS):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return compact(picture.getvalue())


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the figure to `path`, whose suffix (.png or .svg) says how.

    Raises:
        UserError: if it cannot be written.
    """
    if path.suffix == ".svg":
        head, start, drawing = svg_text(figure).partition("<defs>")
        write_atomic(path, (head + IN_THE_DARK + start + drawing).encode())
    else:
        picture = io.BytesIO()
        figure.savefig(picture, format=path.suffix[1:])
        write_atomic(path, picture.getvalue())
    return path
