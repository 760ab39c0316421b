"""The notebooks run from their first cell to their last, and show what they say they show."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

if not os.environ.get("CI"):  # there, what is missing is an error
    pytest.importorskip("nbclient", reason="notebooks run with hotlap[docs]")
    pytest.importorskip("ipykernel", reason="notebooks run with hotlap[docs]")

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
SHOWN = {
    "record-lap": "assert result.accuracy >= result.target and seen.kinds['convolution backward'] > 0",
    "your-images": "assert result.accuracy > 60 and exported.agreement == 1 and answer.label == 'triangle'",
    "your-trick": "assert gain.mean > 0 and hotlap.find_recipe('mine.toml').plan() == mine.plan()",
}


def test_every_notebook_is_run_here():
    assert {p.stem for p in FOLDER.glob("*.ipynb")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # for `!hotlap`
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    book.cells.append(new_code_cell(f"from pathlib import Path\n{SHOWN[name]}"))
    where = tmp_path / "cwd"
    where.mkdir()
    NotebookClient(book, timeout=240, resources={"metadata": {"path": str(where)}}).execute()
    told = "".join(o.get("text", "") for c in book.cells for o in c.get("outputs", ()))
    assert "hotlap: " not in told  # how a command that was refused begins


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_is_kept_without_what_it_printed(name):
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert code
    assert [c["outputs"] for c in code if c["outputs"] or c["execution_count"]] == []
