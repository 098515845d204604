"""The README tells the truth: its table of columns, its commands, its files."""

import re
from pathlib import Path

import pytest
import typer.main

from liqsignals import COLUMNS
from liqsignals.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_table_of_columns() -> None:
    table = README.split("<!-- columns -->")[1].split("<!-- /columns -->")[0].strip().splitlines()
    rows = [f"| `{c.name}` | {c.unit} | {c.range} | {c.nan} | {c.meaning} |" for c in COLUMNS]
    assert table[2:] == rows


def test_named_files_exist() -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", README.split("## How it works")[1].split("## When")[0], re.MULTILINE)
    names = [n for cell in cells for n in re.findall(r"`([^`]+)`", cell)]
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "liqsignals" / name).exists(), name


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test", "backtest"} <= named <= targets


@pytest.mark.parametrize("line", re.findall(r"^\.venv/bin/liqsignals (.+?)(?:\s+#.*)?$", README, re.MULTILINE))
def test_named_commands_and_options_exist(line: str) -> None:
    command, *words = line.split()
    options = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    known = {o for p in options for o in p.opts}
    assert {w for w in words if w.startswith("-")} <= known


def test_decisions_are_short_and_numbered() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [p.name[:3] for p in pages]
    assert all(n.isdigit() for n in numbers)
    assert len(set(numbers)) == len(numbers)  # gaps are allowed: topics have tens of their own
    assert all(len(p.read_text().splitlines()) <= 40 for p in pages)


def test_page_on_sources_is_current() -> None:
    from liqsignals.sources.__main__ import page

    assert (ROOT / "docs" / "sources.md").read_text() == page()
