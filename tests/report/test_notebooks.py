"""The notebooks run on a run's tables, draw, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_clone import ENCODERS, write_clone
from synthetic import with_metrics, write_run

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(*names: str) -> list[tuple[int, str]]:
    """How many pictures each notebook draws, and all that it prints.

    One process for all, in which each begins without the names of those before it: starting it takes most of the time.
    """
    notebooks = [nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4) for name in names]
    forget = nbformat.v4.new_code_cell("%reset -f")
    every = nbformat.v4.new_notebook(cells=[cell for each in notebooks for cell in (*each.cells, forget)])
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(every, timeout=120, kernel_name="python3", resources=folder).execute()
    found = []
    for notebook in notebooks:
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        found.append((pictures, "".join(output.get("text", "") for output in outputs)))
    return found


def test_notebooks_run_on_a_run_s_tables(tables, tmp_path, monkeypatch):
    pictures = {"trade_offs": 1 + 2, "shap": 2, "correlations": 1 + 2 + 2, "your_own_study": 1}
    few = with_metrics(tables, "image_similarity", "text_similarity")
    monkeypatch.setenv("LORABENCH_RUN", str(write_run(few, tmp_path / "run")))
    found = dict(zip(pictures, executed(*pictures)))
    assert {name: drawn for name, (drawn, _) in found.items()} == pictures
    assert not [name for name, (_, said) in found.items() if "Warning" in said]


def test_the_paper_s_notebook_runs_on_published_files(tmp_path, monkeypatch):
    clone = write_clone(tmp_path / "clone", ENCODERS[:1], ("out",))
    next(clone.rglob("captions_metrics.csv")).unlink()  # the second of two studies
    monkeypatch.setenv("LORABENCH_PUBLISHED", str(clone))
    ((drawn, said),) = executed("replay_the_paper")
    assert drawn > 2 and "ranked, explained and reported" in said and "Warning" not in said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
