"""Draw the pictures of README.md and the handbook and write their tables, from records/ and recipes' nets.

    python benchmarks/handbook.py

docs/pictures/race.svg is of the record that keeping/front.py names; docs/handbook/pictures are those of the
records explain-cpu and ladder-cpu, and of the nets that chapters show. Tables, figures and nets stand between
comments (keeping/places.py); record.py writes them too.
"""

from __future__ import annotations

from pathlib import Path

from hotlap import draw_net
from hotlap.measure.ladder_page import draw
from hotlap.report.plots import save_figure
from keeping import front, store
from keeping.kinds import explain, ladder
from keeping.places import PLACE, net_picture
from keeping.record import RECORDS, ROOT, Record

PICTURES = ROOT / store.HANDBOOK / "pictures"


def pictures(folder: Path) -> list[Path]:
    """Every picture of the handbook, drawn into `folder`."""
    experiments = explain.outcomes(Record(RECORDS / "explain-cpu")).values()
    figures = {drawing.name: drawing.figure for found in experiments for drawing in found.drawings}
    figures["ladder"] = draw(ladder.rows(Record(RECORDS / "ladder-cpu")), full=False)
    drawn = [save_figure(figure, folder / f"{name}.svg") for name, figure in figures.items()]
    return drawn + [draw_net(name).save(folder / net_picture(name)) for name in nets()]


def nets() -> list[str]:
    """Recipes whose nets the chapters show."""
    pages = sorted((ROOT / store.HANDBOOK).glob("*.md"))
    shown = [place[3] for page in pages for place in PLACE.finditer(page.read_text()) if place[2] == "net"]
    return sorted({name for words in shown for name in words.split()})


def main() -> None:
    for path in [front.picture(front.PICTURES), *pictures(PICTURES), *store.write()]:
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
