"""The notebooks run on a run's tables, draw, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import with_metrics, write_run

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("name, pictures", [("trade_offs", 1 + 2), ("shap", 2)])
def test_notebook_runs_on_a_run_s_tables(name, pictures, tables, tmp_path, monkeypatch):
    few = with_metrics(tables, "image_similarity", "text_similarity")
    monkeypatch.setenv("LORABENCH_RUN", str(write_run(few, tmp_path / "run")))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == pictures
    said = "".join(output.get("text", "") for output in outputs)
    assert ("did not measure" in said) == (name == "trade_offs") and "Warning" not in said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
