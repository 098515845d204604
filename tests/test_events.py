"""The event study: a planted effect is found, a null is not, and no placebo knows the future."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FIVE, NARROW, PAIR, REAL, as_tape, make_market, needs_real_data
from contract import perturbed
from typer.testing import CliRunner

from liqsignals.cli import app
from liqsignals.clock import DAY, HOUR
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.evaluation import events
from liqsignals.evaluation.events import KINDS, Candles, Side
from liqsignals.liqmap import squeeze
from liqsignals.report import events as pages

QUARTER = 15 * 60 * 1_000_000_000
PARAMETERS = replace(NARROW, squeeze=replace(squeeze.default(), known_at=0))


def walk(seed: int, planted: float = 0.0, days: int = 260, share: float = 0.006) -> Candles:
    """A random walk in 15m candles with random events; after a touch up it drifts by `planted` (log price) in 12 h."""
    rng = np.random.default_rng(seed)
    n = days * 96
    step = rng.normal(0, 1e-3, n)
    masks = [{kind: rng.random(n) < share for kind in KINDS} for _ in range(2)]
    for row in np.flatnonzero(masks[0]["touch"]):
        step[row + 1 : row + 49] += planted / 48
    log_close = np.cumsum(step)
    at = DAY + QUARTER * np.arange(1, n + 1)
    move = np.full(n, np.nan)
    move[4:] = (log_close[4:] - log_close[:-4]) / 2e-3
    everywhere = np.ones(n, bool)
    sides = [Side(masks[s], everywhere, everywhere, sign * move, rng.random(n)) for s, sign in enumerate((1.0, -1.0))]
    return Candles(
        PAIR, at, QUARTER, log_close, np.full(n, 2e-3), rng.normal(size=n), rng.normal(size=n), (sides[0], sides[1])
    )


def cell(found: dict, kind: str, side: str, hours: int) -> dict:
    return next(c for c in found["cells"] if (c["kind"], c["side"], c["hours"]) == (kind, side, hours))


def test_a_planted_effect_is_found_with_its_size() -> None:
    found = events.study([walk(1, 0.006)])
    touch = cell(found, "touch", "up", 12)
    assert touch["p_family"] < 0.05
    # 48 bp of the planted 60: the placebos of others' events drift a little, too.
    assert 35 < touch["value"] < 70
    assert touch["low"] < touch["value"] < touch["high"]
    assert found["tests"] == len([c for c in (*found["cells"], *found["splits"]) if "p" in c]) > 56


def test_nothing_is_found_where_nothing_is() -> None:
    """Over five random walks the smallest family-wise p is rarely below .05, and single p-values as often as they
    should.
    """
    found = [events.study([walk(seed, days=90, share=0.01)], seed) for seed in range(5)]
    tested = [c for f in found for c in (*f["cells"], *f["splits"]) if "p" in c]
    # Weeks are few (13): draws of them are somewhat too sure.
    assert np.mean([c["p"] < 0.05 for c in tested]) < 0.12
    assert sum(min(c["p_family"] for c in f["cells"] if "p" in c) < 0.05 for f in found) <= 2


def test_a_look_ahead_in_the_placebo_would_be_an_effect() -> None:
    """What the module's page says of excluding candles before an event: the test would see it."""
    c = walk(3, days=250)
    rows = np.flatnonzero(np.diff(c.log_close, n=1, prepend=0.0) > 2.5e-3)  # large steps up
    mask = np.zeros(len(c.at), bool)
    mask[rows] = True
    before = np.zeros(len(c.at), bool)
    for row in rows:
        before[max(row - 48, 0) : row] = True
    masks = {kind: mask if kind == "flush" else np.zeros_like(mask) for kind in KINDS}
    honest = replace(c, sides=(replace(c.sides[0], events=masks), c.sides[1]))
    blind = replace(honest, sides=(replace(honest.sides[0], usable=~before | mask), c.sides[1]))
    one, other = (cell(events.study([x]), "flush", "up", 12) for x in (honest, blind))
    assert one["p"] > 0.05
    assert other["value"] > one["value"] + 10


def test_events_are_12_hours_apart_and_placebos_are_alike() -> None:
    c = walk(5, days=60, share=0.02)
    found = events.cases(c)
    by_kind: dict[tuple[str, int], list[int]] = {}
    for case in found:
        by_kind.setdefault((case.kind, case.side), []).append(case.at)
        side = c.sides[case.side]
        assert side.events[case.kind][case.row]
        for row in case.placebos:
            move = side.move[case.row]
            assert abs(side.move[row] - move) <= (0.25 if abs(move) < 4 else 0.1 * abs(move))
            hours = abs(int(c.at[row] // HOUR % 24) - int(c.at[case.row] // HOUR % 24))
            assert min(hours, 24 - hours) <= 1
            past = np.flatnonzero(side.events[case.kind][: row + 1])
            assert len(past) == 0 or c.at[row] - c.at[past[-1]] >= 12 * HOUR
        assert len(set(case.placebos)) == len(case.placebos) <= 10
    assert all((np.diff(at) >= 12 * HOUR).all() for at in by_kind.values())


def test_a_candle_may_be_a_placebo_whatever_happens_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PLACEBOS", 10**6)  # all of them, so that no draw depends on how many there are
    c = walk(7, days=60, share=0.004)
    cut = len(c.at) // 2

    def quiet(side: Side) -> Side:
        return replace(side, events={k: m & (np.arange(len(m)) < cut) for k, m in side.events.items()})

    other = replace(c, sides=(quiet(c.sides[0]), quiet(c.sides[1])))
    before = {(x.kind, x.side, x.row): x.placebos for x in events.cases(c) if x.row < cut}
    after = {(x.kind, x.side, x.row): x.placebos for x in events.cases(other)}
    assert before.keys() == after.keys()
    for key, rows in before.items():
        assert rows[rows < cut].tolist() == after[key][after[key] < cut].tolist()
    assert sum(len(rows) for rows in before.values()) > 500


@pytest.fixture(scope="module")
def tape() -> Tape:
    return as_tape(make_market(26, 5, volatility=0.002))


def test_events_and_candidates_depend_on_the_past_only(tape: Tape) -> None:
    whole = events.candles(tape, PARAMETERS)  # type: ignore[arg-type]
    row = int(0.9 * len(whole.at))
    changed = perturbed(tape, int(whole.at[row]), "values", 3)
    other = events.candles(changed, PARAMETERS)  # type: ignore[arg-type]
    upto = slice(0, row + 1)
    for one, two in zip(whole.sides, other.sides, strict=True):
        for kind in KINDS:
            assert np.array_equal(one.events[kind][upto], two.events[kind][upto]), kind
        for name in ("free", "usable", "move", "cluster_size"):
            assert np.array_equal(getattr(one, name)[upto], getattr(two, name)[upto], equal_nan=True)
    assert np.array_equal(whole.sigma_1h[upto], other.sigma_1h[upto], equal_nan=True)
    seen = {kind for side in whole.sides for kind in KINDS if side.events[kind].any()}
    assert {"approach", "touch", "sweep", "rejection", "breakout under mass"} <= seen


def test_a_touch_is_by_the_cluster_shown_before(tape: Tape) -> None:
    from liqsignals import features

    found = events.candles(tape, PARAMETERS)  # type: ignore[arg-type]
    bars = tape.bars
    assert bars is not None
    out = features.compute(tape, bars["event_time"].copy(), bars["close"].copy(), FIVE, PARAMETERS)
    usable = (out["liq_warm"] == 1) & (out["liq_fresh"] == 1)
    count = 0
    for i in range(1, len(bars)):
        level = out["liq_above_price"][i - 1]
        touched = bool(usable[i] and np.isfinite(level) and bars["high"][i] >= level)
        count += touched
        # Logarithms of two prices that are equal to the last bit compare as the prices do.
        assert found.sides[0].events["touch"][i] == touched
    assert count > 3


def test_returns_do_not_reach_across_a_hole() -> None:
    c = walk(0, days=3)
    kept = np.ones(len(c.at), bool)
    kept[100:110] = False
    holed = replace(c, at=c.at[kept], log_close=c.log_close[kept])
    rows = np.arange(80, 100)
    after = holed.after(rows, 1)
    assert np.isfinite(after[:16]).all()
    assert np.isnan(after[16:]).all()
    assert np.isnan(holed.after(np.array([len(holed.at) - 1]), 1)).all()


def test_a_study_without_events_says_what_is_missing(tape: Tape) -> None:
    short = as_tape(make_market(2, 0))
    with pytest.raises(InputError, match=r"no event.*14 days"):
        events.study([events.candles(short, PARAMETERS)])


def test_every_p_stands_beside_the_number_of_tests(tmp_path: Path) -> None:
    found = events.study([walk(1, 0.006)])
    json.dumps(found, allow_nan=False)
    number = str(found["tests"])
    for title, header, rows in pages.tables(found):
        assert rows
        assert f"among all {number} tests" in title or f"among {number} tests" in header[-1]
    assert number in pages.facts(found)[1]
    pages.write_html(found, tmp_path / "study.html", "t")
    text = (tmp_path / "study.html").read_text()
    assert "http://" not in text.split("</script>")[-1]
    assert f"{number} tests" in text


@needs_real_data
@pytest.mark.slow
def test_the_command_studies_real_markets(tmp_path: Path) -> None:
    out = CliRunner().invoke(
        app, ["study", "-d", str(REAL / "alts" / "binance"), "-p", "SOL/USDT:USDT", "-p", "DOGE/USDT:USDT", "--json"]
    )
    assert out.exit_code == 0, out.output
    found = json.loads(out.stdout)
    assert found["pairs"] == ["SOL/USDT:USDT", "DOGE/USDT:USDT"]
    assert found["tests"] > 20
    assert found["from"] >= "2025-12-15"
