"""The notebook's cells run, one after the other, on a small market; it is stored without outputs."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ETH, ROOT

NOTEBOOK = ROOT / "user_data" / "notebooks" / "liqsignals.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]


def test_every_cell_runs(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("DATADIR", str(market))
    monkeypatch.setenv("PAIR", ETH)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert len(names["usable"]) > 1000
    assert names["reached"]["rows"].sum() > 500
    # Nearer clusters are reached more often.
    assert names["reached"]["share"].iloc[0] > names["reached"]["share"].iloc[-1]
    assert names["out"].stat().st_size > 10_000


def test_it_is_stored_without_outputs_and_its_links_lead_somewhere() -> None:
    for cell in CELLS:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        for part in "".join(cell["source"]).split("](")[1:]:
            assert (NOTEBOOK.parent / part.split(")")[0]).is_file(), part
