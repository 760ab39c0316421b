"""The page of `hotlap serve` in a browser: choosing, dropping and pasting pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

import hotlap
from deploy.chromium import PROGRAM, Chromium

pytest.importorskip("starlette", reason="serving needs hotlap[serve]")
pytest.importorskip("python_multipart", reason="serving needs hotlap[serve]")
pytest.importorskip("uvicorn", reason="serving needs hotlap[serve]")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")

HAND_OVER = """
(kind => {
  const held = new DataTransfer();
  const bytes = Uint8Array.from(atob("%s"), c => c.charCodeAt(0));
  held.items.add(new File([bytes], "%s.png", { type: "image/png" }));
  const event = new (kind === "drop" ? DragEvent : ClipboardEvent)(
    kind, kind === "drop" ? { dataTransfer: held, cancelable: true } : { clipboardData: held });
  dispatchEvent(event);
})("%s")
"""


@pytest.fixture(scope="module")
def loaded(trained):
    from hotlap.deploy.model import open_model

    return open_model(trained, "cpu")


def test_pictures_that_are_chosen_dropped_and_pasted(loaded, tmp_path):
    from deploy.test_serve import Server
    from hotlap.deploy.serve import app

    rng = np.random.default_rng(0)
    contents = []
    for size in ((32, 32), (64, 48), (120, 300)):
        held = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(held, "PNG")
        contents.append(held.getvalue())
    (tmp_path / "chosen.png").write_bytes(contents[0])
    (tmp_path / "notes.txt").write_text("no picture")
    want = [p.best(10) for p in hotlap.predict(loaded, contents)]
    server = Server(app(loaded))
    try:
        with Chromium(tmp_path / "profile") as tab:
            tab.open(f"http://127.0.0.1:{server.port}/")
            tab.wait("document.querySelector('h1').textContent === 'demo'")
            assert tab.value("document.getElementById('about').textContent").startswith("10 classes")
            tab.choose("#file", [tmp_path / "chosen.png", tmp_path / "notes.txt"])
            tab.wait(
                "document.querySelectorAll('li').length === 6 && document.querySelector('.bad') !== null"
            )
            assert tab.value("document.querySelector('.bad').textContent") == "not an image"
            for kind, content in zip(("drop", "paste"), contents[1:], strict=True):
                tab.value(HAND_OVER % (base64.b64encode(content).decode(), kind, kind))
                tab.wait(f"document.querySelector('article .name').textContent.startsWith('{kind}.png')")
                tab.wait("document.querySelectorAll('article:first-child li').length === 6")
            for name, best in zip(("chosen", "drop", "paste"), want, strict=True):
                rows = tab.value(
                    "[...[...document.querySelectorAll('article')].find("
                    f"a => a.querySelector('.name').textContent.startsWith('{name}.png')"
                    ").querySelectorAll('li')].map(li => [...li.children].map(c => c.textContent))"
                )
                assert [row[0] for row in rows] == [label for label, _ in best[:6]]
                assert [row[2] for row in rows] == [f"{100 * share:.1f}%" for _, share in best[:6]]
            wide = tab.value(
                "[...document.querySelectorAll('article:first-child li i')]"
                ".map(i => getComputedStyle(i, '::before').width + '/' + getComputedStyle(i).width)"
            )
            for text, (_, share) in zip(wide, want[2], strict=False):
                bar, track = (float(side.removesuffix("px")) for side in text.split("/"))
                assert bar == pytest.approx(max(share * track, 1), abs=1)
            tab.value("document.querySelector('article button').click()")
            assert tab.value("document.querySelectorAll('article:first-child li').length") == 10
            shots = [tmp_path / f"{dark}.png" for dark in (False, True)]
            for dark, shot in enumerate(shots):
                tab.screenshot(shot, dark=bool(dark))
            light, dark = (np.asarray(Image.open(shot).convert("L")).mean() for shot in shots)
            assert light > 180
            assert dark < 80
            refused = [e for e in tab.errors if "422" not in str(e)]
            assert refused == []
    finally:
        server.stop()
