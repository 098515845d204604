"""The pages match the code: the table of columns, commands, files."""

import re
import textwrap
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
from conftest import ETH
from contract import make_world

from liqsignals import COLUMNS
from liqsignals.cli import app
from liqsignals.features import Context

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def test_table_of_columns() -> None:
    from liqsignals.features.__main__ import table

    assert PAGES["columns.md"].split("<!-- columns -->")[1].split("<!-- /columns -->")[0].strip() == table()
    assert all(f"| `{c.name}` | {c.unit} | {c.range} | {c.nan} | {c.meaning} |" in table() for c in COLUMNS)


def test_the_page_on_adding_a_feature_adds_one() -> None:
    """Its example is a family that works, and the calls that it names are there."""
    page = (ROOT / "docs" / "add-a-feature.md").read_text()
    family = ModuleType("takers")
    exec(textwrap.dedent(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]), family.__dict__)
    world = make_world(0, 0.3)
    bars = world.tapes[ETH, "binance"].bars
    out = world.compute(family, bars["event_time"].copy(), bars["close"].copy())  # type: ignore[arg-type]
    assert set(out) == {"taker_buy_share", "taker_fresh"}
    assert (out["taker_fresh"][2:] == 1).all()
    assert ((out["taker_buy_share"][2:] > 0.2) & (out["taker_buy_share"][2:] < 0.8)).all()
    for name in re.findall(r"`(?:context\.)?([a-z_]+)(?:\([a-z]*\))?`", page.split("What a context gives")[1]):
        assert hasattr(Context, name) or name in {f.name for f in fields(Context)}, name


def test_named_files_exist() -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", PAGES["architecture.md"].split("## One candle")[1], re.MULTILINE)
    names = [n for cell in cells for n in re.findall(r"`([^`]+)`", cell)]
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "liqsignals" / name).exists(), name


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES.values() for name in re.findall(r"(?:^|`)make ([a-z]+)", page, re.MULTILINE)}
    assert {"demo", "test", "backtest"} <= named <= targets


@pytest.mark.parametrize(
    "line",
    sorted(
        {
            line
            for page in PAGES.values()
            for line in re.findall(r"^\.venv/bin/liqsignals (.+?)(?:\s+#.*)?$", page, re.MULTILINE)
        }
    ),
)
def test_named_commands_and_options_exist(line: str) -> None:
    command, *words = line.split()
    options = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    known = {o for p in options for o in p.opts}
    assert {w for w in words if w.startswith("-")} <= known


def test_columns_of_the_last_release_are_there() -> None:
    """docs/release.md: a name that goes is deprecated first."""
    (listed,) = (ROOT / "tests").glob("columns-*.txt")
    assert not set(listed.read_text().split()) - {column.name for column in COLUMNS}


def test_the_site_is_built_without_a_dead_link_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="make setup .dev installs it")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    # Strict: a warning, such as one of a link that leads nowhere, raises.
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)\"", page.read_text())
        assert not [address for address in loaded if "//" in address], page
    assert not [path for path in tmp_path.rglob("*.css") if re.search(r"url\([\"']?(https?:)?//", path.read_text())]


def test_decisions_are_short_and_numbered() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [p.name[:3] for p in pages]
    assert all(n.isdigit() for n in numbers)
    assert len(set(numbers)) == len(numbers)  # gaps are allowed: topics have tens of their own
    assert all(len(p.read_text().splitlines()) <= 40 for p in pages)


def test_page_on_sources_is_current() -> None:
    from liqsignals.sources.__main__ import page

    assert (ROOT / "docs" / "sources.md").read_text() == page()
