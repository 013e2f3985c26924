"""The notebook of the documentation runs from its first cell to its last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.factories.pages import find_absolute_paths

ROOT = Path(__file__).parent.parent


def test_the_notebook_runs_on_any_night_and_models(
    unlabelled_night: Path,
    staging_models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = nbformat.read(ROOT / "docs" / "start.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].source.startswith("NIGHT = ")
    cells[0].source = f"NIGHT, MODEL = {str(unlabelled_night)!r}, {str(staging_models)!r}"
    assert 'explain="1100,1300,1500"' in cells[1].source
    cells[1].source = cells[1].source.replace("1100,1300,1500", "0,2,5")
    monkeypatch.chdir(ROOT / "docs")
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert "report.html" in str(cells[-1].outputs)


def test_the_stored_notebook_shows_what_it_says() -> None:
    """Its outputs are stored, with the picture of the night, and hold no path of the machine."""
    notebook = nbformat.read(ROOT / "docs" / "start.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert not find_absolute_paths(str(outputs))
