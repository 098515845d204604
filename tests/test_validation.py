"""`liqsignals validate`: the split by age, planted truths, coarser candles, and the command."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FIVE, NARROW, PAIR, START, Market, as_tape, make_market, ns, resampled, write_datadir

from liqsignals import cli, liqmap
from liqsignals.clock import DAY, HOUR, duration_ns, iso, to_dates
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.evaluation import (
    ages,
    baselines,
    candle_sizes,
    cases,
    fit,
    intervals,
    level_lift,
    scores,
    true_levels,
    validate,
)
from liqsignals.liqmap import calibration, kernels
from liqsignals.liqmap.parameters import LeverageClass, Parameters

DAYS = 12
#: Far and near, so that every age is swept.
MIX = Parameters(
    (
        LeverageClass(8, 12, 0.4, 20_000, (10.0,), 0.1),
        LeverageClass(20, 40, 0.3, 20_000),
        LeverageClass(60, 100, 0.3, 20_000),
    ),
    report_factor=0.2,
)


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(DAYS, seed=21, volatility=0.0015)


@pytest.fixture(scope="module")
def tape(market: Market) -> Tape:
    return as_tape(market)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps are warm after two days, intervals use a few draws."""
    monkeypatch.setattr(liqmap, "WARMUP", 2 * DAY)
    bootstrap = scores.bootstrap
    monkeypatch.setattr(scores, "bootstrap", lambda statistic, hours, draws=0: bootstrap(statistic, hours, 15))


HOURS = START + HOUR * np.arange(24 * DAYS)


def planted(tape: Tape, parameters: Parameters = MIX) -> np.ndarray:
    """Liquidations equal to the map's predictions with `parameters`, USD (2, n)."""
    return np.nan_to_num(parameters.report_factor * fit.sweeps(tape, parameters, HOURS).sum(axis=2).T)


def fitted(parameters: Parameters = MIX, **provenance: object) -> calibration.Fitted:
    return calibration.Fitted(parameters, (True,) * len(parameters.classes), provenance)


def swept_of(tape: Tape, parameters: Parameters) -> np.ndarray:
    fold = liqmap.Fold.of(tape, parameters)
    fold.to(len(fold.plan.low))
    return fold.flows[:, :, kernels.SWEPT_USD]


@pytest.mark.parametrize("parameters", [MIX, NARROW, Parameters()], ids=["three", "narrow", "prior"])
@pytest.mark.parametrize("period", ["5m", "1h"])
def test_ages_sum_to_the_map(market: Market, parameters: Parameters, period: str) -> None:
    tape = as_tape(market, period)
    aged, whole = ages.fold_by_age(tape, parameters), swept_of(tape, parameters)
    np.testing.assert_allclose(aged.swept.sum(axis=2), whole, rtol=1e-9, atol=1e-9 * whole.max())
    assert (aged.swept >= 0.0).all()
    assert (aged.swept.sum(axis=(0, 1)) > 0.0)[:3].all()


def test_ages_sum_to_the_map_across_a_hole(tape: Tape) -> None:
    holed = replace(tape, bars=np.delete(tape.bars, slice(800, 800 + 12 * 100)))
    aged, whole = ages.fold_by_age(holed, MIX), swept_of(holed, MIX)
    np.testing.assert_allclose(aged.swept.sum(axis=2), whole, rtol=1e-9, atol=1e-9 * whole.max())


def test_nothing_is_older_than_the_map(tape: Tape) -> None:
    """With all entries before some hour, what is swept then grows older: by hand from the bars' times."""
    aged = ages.fold_by_age(tape, MIX)
    block = (np.arange(len(aged.swept)) * FIVE + START) // (3 * HOUR)
    since = (block - block[0]) * 3
    for age, least in enumerate((0, 3, 12, 72)):
        assert aged.swept[since < least, :, age].sum() == 0.0
    assert aged.swept[since >= 72, :, 3].sum() > 0.0


def test_the_books_of_all_ages_are_the_maps_book(tape: Tape) -> None:
    at = START + 6 * DAY
    held, price = ages.fold_by_age(tape, MIX, [at]).books[at]
    fold = liqmap.Fold.of(tape.cut(at), MIX)
    fold.to(len(fold.plan.low))
    assert fold.book is not None
    levels, own = fold.book.levels(), fold.book.price
    common, a, b = np.intersect1d(price, own, return_indices=True)
    assert len(common) > 1000
    total = held.sum(axis=1)[:, a]
    np.testing.assert_allclose(total, levels[:, b], rtol=1e-9, atol=1e-9 * levels.max())
    assert held.sum() == pytest.approx(levels.sum(), rel=1e-9)


def test_a_map_scored_against_itself_is_right_and_against_shuffled_hours_is_not(tape: Tape) -> None:
    real = planted(tape)
    own = validate.validate(tape, HOURS, real, fitted(), baselines=False).found
    scored = own["models"]["map"]
    assert own["coverage"] == 1.0
    for key in ("rank", "rank_moved", "r2", "dollars"):
        assert scored[key] == pytest.approx([1.0, 1.0], abs=1e-9), key
    test = np.greater_equal(HOURS, cases.split(HOURS, None))
    mixed = real.copy()
    mixed[:, test] = real[:, np.random.default_rng(0).permutation(np.flatnonzero(test))]
    other = validate.validate(tape, HOURS, mixed, fitted(), baselines=False).found["models"]["map"]
    assert np.abs(other["rank"]).max() < 0.25
    for side in range(2):
        # The interval contains zero, or nearly.
        low, high = (other["intervals"]["rank"][end][side] for end in ("low", "high"))
        assert low < 0.0 < high or abs(low) < 0.25


def test_hours_without_a_map_count_as_zero(tape: Tape) -> None:
    real = planted(tape)
    gone = replace(tape, bars=np.delete(tape.bars, slice(12 * 24 * 9, 12 * 24 * 10)))
    found = validate.validate(gone, HOURS, real, fitted(), START + 6 * DAY, baselines=False).found
    # The day without candles, and two days until the restarted map is warm; the last day is covered.
    assert found["coverage"] == pytest.approx(3 / 6, abs=0.02)
    assert max(found["models"]["map"]["rank"]) < 1.0
    assert found["models"]["map"]["dollars"][0] > 1.0


def test_planted_levels_have_lift(tape: Tape) -> None:
    found = validate.validate(tape, HOURS, planted(tape), fitted(), START + 4 * DAY, baselines=False).found
    levels = found["levels"]
    assert levels["snapshots"] == 8
    for side in range(2):
        assert levels["liquidated"]["map"]["value"][side] > 1.0
        assert levels["swept"]["map"]["value"][side] > 1.0
        assert levels["liquidated"]["nearest"]["value"][side] > 1.0


def test_lift_by_hand() -> None:
    weight, ranking = np.zeros(50), np.arange(50.0)
    weight[48] = 1.0
    assert level_lift.lift(weight, ranking) == 10.0
    assert level_lift.lift(weight, -ranking) == 0.0
    assert level_lift.lift(np.ones(50), ranking) == pytest.approx(1.0)
    assert np.isnan(level_lift.lift(np.zeros(50), ranking))
    assert np.isnan(level_lift.lift(np.ones(9), np.arange(9.0)))


def test_liquidations_are_placed_where_an_hour_is_the_first(tape: Tape) -> None:
    bars = tape.bars[: 12 * 120].copy()
    for name in ("open", "high", "low", "close"):
        bars[name] = 100.0
    first = 12 * 100
    bars["low"][first + 3], bars["low"][first + 14], bars["low"][first + 26] = 98.0, 99.0, 97.0
    case = cases.Case(
        replace(tape, bars=bars), HOURS[:120], np.zeros((2, 120)), np.zeros((2, 120)), np.zeros((2, 120), bool),
        np.ones(120, bool),
    )  # fmt: skip
    case.real[0, 100:103] = 8.0, 5.0, 6.0
    levels = np.array([96.5, 97.5, 98.5, 99.5])
    placed = level_lift.placed_on(case, 0, np.arange(100, 103), levels)
    # The second hour only returns to prices that the first reached: its 5 USD are not placed.
    assert placed.tolist() == [0.0, 6.0, 4.0, 4.0]


def test_hours_that_reach_new_prices(tape: Tape, market: Market) -> None:
    found = cases.reaches_new_prices(tape, HOURS)
    low, high = (market.candles[c].to_numpy() for c in ("low", "high"))
    for i in range(len(HOURS)):
        a = 12 * i
        if a < 12 * 72:
            assert not found[:, i].any()
            continue
        assert found[0, i] == (low[a : a + 12].min() < low[a - 864 : a].min())
        assert found[1, i] == (high[a : a + 12].max() > high[a - 864 : a].max())
    assert found.any(axis=1).all()


@pytest.mark.parametrize("size", ["15m", "1h"])
def test_coarser_candles_are_the_resampled_ones(market: Market, tape: Tape, size: str) -> None:
    gone = market.candles.drop(index=[100, 101, 102, 700])
    coarse = candle_sizes.coarser(as_tape(replace(market, candles=gone)), duration_ns(size))
    expected = resampled(gone, size)
    assert coarse.bar_ns == duration_ns(size)
    assert np.array_equal(coarse.bars["event_time"], ns(expected["date"]) + duration_ns(size))
    assert np.array_equal(coarse.bars["known_at"], coarse.bars["event_time"])
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(coarse.bars[name], expected[name])
    np.testing.assert_allclose(coarse.bars["volume"], expected["volume"], rtol=1e-12)
    with pytest.raises(InputError, match="--candles 7m"):
        candle_sizes.coarser(tape, duration_ns("7m"))


def test_hourly_interest_is_known_as_late_as_hourly_rows(market: Market, tape: Tape) -> None:
    hourly, file = candle_sizes.hourly_interest(tape), as_tape(market, "1h")
    assert hourly.period_ns == file.period_ns
    assert np.array_equal(hourly.open_interest, file.open_interest)


def test_baselines_use_nothing_after_the_hour(tape: Tape) -> None:
    names, table = baselines.features(tape, HOURS)
    assert len(names) == table.shape[1] == len(set(names))
    cut = START + 8 * DAY
    before = np.less_equal(HOURS + HOUR, cut)
    # The features take open interest at its snapshot: cut by event, not by when it was known.
    past = replace(
        tape,
        bars=tape.bars[tape.bars["event_time"] <= cut],
        open_interest=tape.open_interest[tape.open_interest["event_time"] <= cut],
    )
    _, then = baselines.features(past, HOURS)
    assert np.array_equal(table[before], then[before], equal_nan=True)
    assert np.isfinite(table[100:]).all()


def test_trees_are_trained_only_before_the_split(tape: Tape) -> None:
    real = planted(tape)
    case = cases.case(tape, HOURS, real, START + 8 * DAY)
    _, table = baselines.features(tape, HOURS)
    one = baselines.trees(case, table, 1)
    later = replace(case, real=np.where(case.test, 7.0, real))
    assert np.array_equal(one, baselines.trees(later, table, 1), equal_nan=True)
    assert np.isnan(one[:, ~case.test]).all()
    assert (one[:, case.test] >= 0.0).all()


def test_hours_that_the_calibration_was_fitted_on_are_in_sample(tape: Tape) -> None:
    real = planted(tape)
    seen = fitted(MIX, span=[iso(START), iso(START + 7 * DAY)], pairs=[PAIR])
    default = validate.validate(tape, HOURS, real, seen, baselines=False).found
    assert (default["scored"][0], default["in_sample"]) == (iso(START + 7 * DAY), False)
    early = validate.validate(tape, HOURS, real, seen, START + 5 * DAY, baselines=False).found
    assert early["in_sample"]
    after = fitted(MIX, span=[iso(int(HOURS[-1]) + DAY), iso(int(HOURS[-1]) + 9 * DAY)], pairs=[PAIR])
    assert not validate.validate(tape, HOURS, real, after, START + 5 * DAY, baselines=False).found["in_sample"]
    other = fitted(MIX, span=[iso(START), iso(START + 7 * DAY)], pairs=["ETH/USDT:USDT"])
    assert validate.validate(tape, HOURS, real, other, START + 5 * DAY, baselines=False).found["in_sample"]


def test_too_few_hours_are_refused(tape: Tape) -> None:
    real = np.ones((2, len(HOURS)))
    for cut in (START + DAY, START + (DAYS - 1) * DAY):
        with pytest.raises(InputError, match="48 are needed on either side"):
            validate.validate(tape, HOURS, real, fitted(), cut)
    with pytest.raises(InputError, match="no hours of liquidations"):
        validate.validate(tape, HOURS[:0], real[:, :0], fitted())
    with pytest.raises(InputError, match="no candles of BTC/USDT:USDT in the hours to score"):
        validate.validate(tape, HOURS + 400 * DAY, real, fitted())


# --- true levels


def snapshot(at: int, price: float, longs: list[tuple[float, float]], shorts: list[tuple[float, float]]) -> str:
    sides = {
        name: [{"price": p, "value": v} for p, v in levels]
        for name, levels in (("longLiquidations", longs), ("shortLiquidations", shorts))
    }
    return json.dumps({"lastUpdated": iso(at), "data": {"BTC": {"currentPrice": price, **sides}}})


def test_true_levels_at_the_maps_own_rank_first(tape: Tape, tmp_path: Path) -> None:
    """Snapshots made of the map's own mass: rank 1, and lift above uniform."""
    at = [START + d * DAY for d in range(6, 11)]
    books = ages.fold_by_age(tape, MIX, at).books
    lines = []
    for when in at:
        held, price = books[when]
        now = float(tape.bars["close"][np.searchsorted(tape.bars["event_time"], when)])
        usd = held.sum(axis=1) * price
        edges = now * (0.7 + 0.012 * np.arange(51))
        middle = (edges[1:] + edges[:-1]) / 2.0
        levels = [list(zip(middle, np.histogram(price, edges, weights=usd[s])[0], strict=True)) for s in range(2)]
        longs = [(p, v) for p, v in levels[0] if p < now]
        shorts = [(p, v) for p, v in levels[1] if p > now]
        lines.append(snapshot(when, now, longs, shorts))
    path = tmp_path / "levels.jsonl"
    path.write_text("\n".join(lines))
    found = validate.validate(
        tape, HOURS, planted(tape), fitted(), START + 4 * DAY, baselines=False, hyperliquid=path
    ).found["true_levels"]
    assert found["snapshots"] == 5
    assert found["rank"]["map"]["value"][0] > 0.9
    assert found["lift"]["map"]["value"][0] > 1.0
    assert found["rank"]["uniform"]["value"][0] == 0.0
    assert found["lift"]["uniform"]["value"][0] == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"lastUpdated": "2026-01-06T00:00:00Z"}', "row 0 is no snapshot"),
        (snapshot(START, 6e4, [], []) + "\nnonsense", "row 1 is no snapshot"),
        (snapshot(START, 6e4, [], []).replace('"BTC"', '"ETH"'), "holds no levels of BTC"),
    ],
    ids=["no data", "no JSON", "other coin"],
)
def test_files_without_true_levels_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "levels.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        true_levels.true_levels(path, "BTC")
    assert words in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        true_levels.true_levels(tmp_path / "nothing.jsonl", "BTC")


# --- the command


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, market: Market) -> tuple[Path, Path, Path]:
    """Data directory, a table of liquidations, a calibration."""
    root = tmp_path_factory.mktemp("validate")
    datadir = write_datadir(root, market)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liqmap, "WARMUP", 2 * DAY)
        real = planted(as_tape(market))
    table = root / "real.csv"
    dates = to_dates(HOURS).strftime("%Y-%m-%dT%H:%M:%SZ")
    pd.DataFrame({"date": dates, "liq_long_usd": real[0], "liq_short_usd": real[1]}).to_csv(table, index=False)
    mix = root / "mix.json"
    calibration.save(calibration.Calibration(fitted(MIX, pairs=[PAIR])), mix)
    return datadir, table, mix


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["liqsignals", "validate", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


def test_the_command_prints_json(files: tuple[Path, Path, Path], monkeypatch, capsys) -> None:
    datadir, table, mix = files
    code, out, err = run(
        monkeypatch, capsys, "-d", datadir, "-p", PAIR, "-l", table, "--calibration", mix, "--no-baselines", "--json",
        "--candles", "5m,15m", "--hourly-interest", "--from", iso(START), "--to", iso(START + 11 * DAY),
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {
        "pair", "scored", "hours", "coverage", "in_sample", "models", "paired", "by_age", "levels", "by_candle",
        "liquidations", "simulated",
    } <= set(found)  # fmt: skip
    assert list(found["models"]) == ["map", "map, 12 h memory", "map, 3 h memory"]
    assert found["models"]["map"]["rank"] == pytest.approx([1.0, 1.0], abs=1e-9)
    assert set(found["models"]["map"]["intervals"]) == set(intervals.STATISTICS)
    assert list(found["models"]["map"]["months"]) == ["2026-01"]
    assert found["scored"][1] == iso(START + 11 * DAY)
    assert list(found["by_candle"]["sizes"]) == ["5m", "15m", "5m, hourly interest", "15m, hourly interest"]
    assert found["by_candle"]["sizes"]["5m"]["rank"]["value"] == pytest.approx([1.0, 1.0], abs=1e-9)


def test_the_command_prints_tables_and_writes_a_page(
    files: tuple[Path, Path, Path], monkeypatch, capsys, tmp_path: Path
) -> None:
    datadir, table, mix = files
    page = tmp_path / "page.html"
    code, out, err = run(
        monkeypatch, capsys, "-d", datadir, "-p", PAIR, "-l", table, "--calibration", mix, "--no-baselines",
        "--report", page,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "1.000 / 1.000" in out
    assert "100.0" in out
    text = page.read_text()
    assert "plotly" in text
    assert PAIR in text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    figures = [
        json.JSONDecoder().raw_decode(text, at.end())[0] for at in re.finditer(r'Plotly.newPlot\(\s*"[^"]+",\s*', text)
    ]
    traces = [trace for figure in figures for trace in figure]
    for model in ("map", "map, 12 h memory"):
        assert len({trace["line"]["color"] for trace in traces if trace.get("name") == model}) == 1, model
    # Of the hours missed most the map's levels are drawn, too.
    assert {"candlestick", "heatmap"} <= {trace["type"] for trace in traces}


def test_all_pairs_are_equal_to_single_runs_and_resumed(
    files: tuple[Path, Path, Path], monkeypatch, capsys, tmp_path: Path
) -> None:
    datadir, table, mix = tmp_path / "binance", files[1], files[2]
    shutil.copytree(files[0], datadir)
    for path in (files[0] / "futures").iterdir():
        shutil.copy(path, datadir / "futures" / path.name.replace("BTC_", "ETH_"))
        # A pair without a table is left out.
        shutil.copy(path, datadir / "futures" / path.name.replace("BTC_", "BTCDOM_"))
    tables, out = tmp_path / "tables", tmp_path / "out"
    tables.mkdir()
    shutil.copy(table, tables / "BTC_USDT_USDT.csv")
    torn = tables / "ETH_USDT_USDT-1h-liquidations.csv"
    torn.write_text("date,long\n")
    words = ["-d", datadir, "--calibration", mix, "--no-baselines", "--to", iso(START + 11 * DAY)]
    every = [*words, "--all-pairs", "-l", tables, "-o", out, "-j", 1]
    code, said, err = run(monkeypatch, capsys, *every)
    assert code == 2
    assert "1 of 2 pairs could not be computed" in err
    assert torn.name in err
    assert "1 of 2 pairs" in said
    assert [path.name for path in out.iterdir()] == ["BTC_USDT_USDT.json"]
    shutil.copy(table, torn)
    code, said, err = run(monkeypatch, capsys, *every)
    assert code == 0
    assert "2 of 2 pairs" in said
    assert "1 file stood already" in said
    for pair, stem in ((PAIR, "BTC_USDT_USDT"), ("ETH/USDT:USDT", "ETH_USDT_USDT")):
        _, single, _ = run(monkeypatch, capsys, *words, "-p", pair, "-l", table, "--json")
        kept = json.loads((out / f"{stem}.json").read_text())
        assert kept.pop("inputs")
        assert kept == json.loads(single)
    # Another table, another answer: of that pair only.
    before = (out / "BTC_USDT_USDT.json").read_bytes()
    pd.read_csv(table).iloc[:-48].to_csv(torn, index=False)
    assert "1 file stood already" in run(monkeypatch, capsys, *every)[1]
    assert (out / "BTC_USDT_USDT.json").read_bytes() == before
    shutil.copy(table, tables / "ETH_USDT_USDT.csv")
    assert "several tables of ETH/USDT:USDT" in run(monkeypatch, capsys, *every)[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--all-pairs"], "either --pair or --all-pairs"),
        (["-j", "2"], "go with --all-pairs"),
        (["--refit"], "--refit needs --fit-until"),
        (["--fit-until", "2026-01-10"], "no time zone"),
        (["--candles", "7m"], "--candles 7m"),
        (["--unit", "base"], "are in usd"),
        (["--report", "page.pdf"], "unknown ending"),
        (["--from", "2027-01-01T00:00:00Z"], "no hours of liquidations in the span"),
        (["--calibration", "nothing.json"], "nothing.json"),
        (["--hyperliquid", "nothing.jsonl"], "nothing.jsonl"),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else "",
)
def test_bad_input_ends_with_2_and_one_line(
    files: tuple[Path, Path, Path], monkeypatch, capsys, arguments: list[str], words: str
) -> None:
    datadir, table, mix = files
    base = ["-d", datadir, "-p", PAIR, "-l", table, "--no-baselines"]
    if "--calibration" not in arguments:
        base += ["--calibration", mix]
    code, out, err = run(monkeypatch, capsys, *base, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_a_missing_scikit_learn_is_named(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    case = cases.case(tape, HOURS, np.ones((2, len(HOURS))), START + 6 * DAY)
    with pytest.raises(InputError, match=r"scikit-learn.*--no-baselines"):
        baselines.trees(case, np.zeros((len(HOURS), 1)))
