"""The notebooks run from top to bottom, show what their text says, and are kept without outputs."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))

# What has to be true when a notebook has run, in its own words.
TRUE = {
    "first_model.ipynb": """
assert result.test.auc > 0.7 and abs(result.test.calibration - 1) < 0.2
assert result.test.auc <= 1 and len(Curve.points) * 75 == result.steps  # 9,600 rows in batches of 128, evaluated after every pass
assert model.score(X[10800:], y[10800:]) > max(y[10800:].mean(), 1 - y[10800:].mean())
assert abs(predictor.predict(test[predictor.fields]).mean() / test["click"].mean() - result.test.calibration) < 1e-4
""",
    "from_logs_to_server.ipynb": """
lines = [json.loads(line) for line in (folder / "run" / "record.jsonl").read_text().splitlines()]
start, end = lines[0], lines[-1]
assert start["ranks"] == (2 if mpiexec else 1) and end["test"]["auc"] > 0.7 and end["test"]["rows"] == 3000
kinds = {one["name"]: one["kind"] for one in start["config"]["data"]["fields"]}
assert kinds == {"ad_id": "categorical", "site": "categorical", "segments": "multi", "position": "categorical"}
assert 1 > answers[0] > answers[1] > 0 and refused[0] == 400 and "'sight'; did you mean 'site'" in refused[1]
""",
}


def test_each_has_what_to_look_for():
    assert sorted(TRUE) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_kept_without_outputs(name):
    cells = nbformat.read(EXAMPLES / name, as_version=4).cells
    assert [cell.source for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 5


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(TRUE[name]))
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
