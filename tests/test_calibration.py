"""Calibration: a planted mix is found again, too little is refused, and the file is kept as it was fitted."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, REAL, START, as_tape, make_market, needs_real_data, write_datadir

from liqsignals import Signals, cli, liqmap
from liqsignals.clock import DAY, HOUR, parse_time, to_dates
from liqsignals.data.tape import Tape, read_tape
from liqsignals.errors import InputError
from liqsignals.evaluation import fit, liquidations, scores
from liqsignals.evaluation.fit import Market
from liqsignals.liqmap import calibration
from liqsignals.liqmap.calibration import Calibration, Fitted
from liqsignals.liqmap.parameters import Parameters, standing_of

DAYS = 18
HOURS = START + HOUR * np.arange(24 * DAYS)
#: What the planted market's book differs by from the prior, class by class, and how much of it the feed shows.
FACTORS = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 2.5, 1.0])
SHOWN = 0.3


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Warm after two days, fitted on ten, few draws."""
    patch.setattr(liqmap, "WARMUP", 2 * DAY)
    patch.setattr(fit, "LEAST_HOURS", 240)
    patch.setattr(fit, "EVIDENCE", 0.05)
    patch.setattr(fit, "DRAWS", 8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture(scope="module")
def tape() -> Tape:
    return as_tape(make_market(DAYS, seed=33, volatility=0.0017))


def other() -> Parameters:
    prior = Parameters()
    return fit.mixed(prior, standing_of(prior) * FACTORS)


@pytest.fixture(scope="module")
def planted(tape: Tape) -> Market:
    """Liquidations of a book of another mix, without noise."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        usd = SHOWN * np.nan_to_num(fit.sweeps(tape, other(), HOURS)).sum(axis=2).T
    return Market(tape, HOURS, usd)


@pytest.fixture(scope="module")
def fitted(planted: Market) -> Fitted:
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        return fit.fit([planted], "planted")


def near_to_middle(parameters: Parameters) -> float:
    """Log of what stands at 50x and more per what stands at 20x to 50x: liquidations identify shapes, not levels."""
    standing = standing_of(parameters)
    return float(np.log(standing[5] / standing[3:5].sum()))


def test_a_planted_mix_is_approached_and_predicts_hours_that_it_has_not_seen(fitted: Fitted) -> None:
    assert fitted.evidence[5]
    start, end = near_to_middle(Parameters()), near_to_middle(other())
    assert end - start == pytest.approx(np.log(2.5 / 0.4))
    # The prior pulls hard on so few hours.
    assert 0.2 < (near_to_middle(fitted.parameters) - start) / (end - start) < 1.2
    score = fitted.provenance["out_of_sample"][PAIR]
    assert min(score["rank"]) > 0.95
    assert min(score["r2"]) > 0.9
    assert np.mean(score["rank"]) == pytest.approx(fitted.parameters.score)


def test_the_fit_predicts_better_than_the_prior(fitted: Fitted, planted: Market) -> None:
    def r2(parameters: Parameters) -> float:
        usd = np.nan_to_num(fit.sweeps(planted.tape, parameters, HOURS).sum(axis=2).T)
        usd *= planted.usd.sum() / usd.sum()
        return min(scores.hour_score(usd, planted.usd, fit.moves(planted.tape, HOURS)).r2)

    assert r2(fitted.parameters) > r2(Parameters())


def test_classes_without_evidence_keep_the_prior(fitted: Fitted) -> None:
    prior = Parameters()
    standing, start = standing_of(fitted.parameters), standing_of(prior)
    kept = ~np.array(fitted.evidence)
    assert kept.any()
    for k in np.flatnonzero(kept):
        assert standing[k] == pytest.approx(start[k], rel=1e-12)
        assert fitted.parameters.classes[k].doubt == prior.classes[k].doubt
    for k in np.flatnonzero(~kept):
        low, high = fitted.parameters.classes[k].doubt
        assert 0.0 < low <= fit.LEVEL[0] * 1.05
        assert high >= fit.LEVEL[1] * 0.95
    assert standing.sum() + fitted.parameters.remainder == pytest.approx(1.0)


def test_the_report_factor_makes_the_dollars_right(fitted: Fitted, planted: Market) -> None:
    usd = fitted.parameters.report_factor * fit.sweeps(planted.tape, fitted.parameters, HOURS).sum(axis=2).T
    there = np.isfinite(usd)
    assert usd[there].sum() == pytest.approx(planted.usd[there].sum(), rel=1e-9)


def test_a_fit_knows_nothing_of_later_hours(planted: Market, tape: Tape) -> None:
    """The score of hours after T comes from a fit of those before: what happens later does not move it."""
    until = HOURS < START + (DAYS - 2) * DAY
    one = fit.fit([Market(tape, HOURS[until], planted.usd[:, until])])
    cut = tape.cut(START + (DAYS - 2) * DAY)
    two = fit.fit([Market(cut, HOURS[until], planted.usd[:, until])])
    assert one.parameters == two.parameters
    since = START + (DAYS - 3) * DAY
    first = np.less(HOURS, since)
    trial = fit.fit([Market(tape, HOURS[first], planted.usd[:, first])]).parameters
    changed = planted.usd.copy()
    changed[:, ~first] = changed[:, ~first][:, ::-1]
    late = fit.fit([Market(tape, HOURS, changed)], holdout_from=since).provenance["out_of_sample"]
    usd = trial.report_factor * fit.sweeps(tape, trial, HOURS[~first]).sum(axis=2).T
    own = scores.hour_score(usd, changed[:, ~first], fit.moves(tape, HOURS[~first]))
    assert late[PAIR] == own.as_dict()


def test_both_markets_are_pooled(planted: Market, fitted: Fitted) -> None:
    twin = replace(planted, tape=replace(planted.tape, pair="ETH/USDT:USDT"))
    both = fit.fit([planted, twin])
    assert both.provenance["pairs"] == ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert both.provenance["hours"] == 2 * fitted.provenance["hours"]
    assert set(both.provenance["out_of_sample"]) == {"from", *both.provenance["pairs"]}


def test_a_holdout_without_hours_has_no_score(planted: Market) -> None:
    found = fit.fit([planted], holdout_from=int(HOURS[-1]) + DAY)
    assert found.parameters.score is None


# --- refusals


def test_too_little_is_refused_with_its_counts(planted: Market, tape: Tape) -> None:
    short = Market(tape, HOURS[: 10 * 24], planted.usd[:, : 10 * 24])
    with pytest.raises(InputError) as caught:
        fit.fit([short])
    # The first open interest is known two periods late, so the map is warm within an hour, not at its open.
    message = str(caught.value)
    assert f"too little data for {PAIR}: {8 * 24 - 1} hours with a warm map (240 are needed)" in message
    assert "Way out:" in message
    quiet = Market(tape, HOURS, planted.usd * [[1.0], [1e-9]])
    with pytest.raises(InputError, match=r"and 0 with long and short liquidations above 10,000 USD \(60 of each\)"):
        fit.fit([quiet])


def test_a_missing_scipy_is_named(planted: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=r"calibrate needs scipy.*'\.\[truth\]'"):
        fit.fit([planted])


# --- the file


@pytest.fixture
def saved(fitted: Fitted, tmp_path: Path) -> Path:
    path = tmp_path / "mix.json"
    calibration.save(Calibration(fitted, {PAIR: fitted}), path)
    return path


def test_a_file_gives_back_what_was_fitted(fitted: Fitted, saved: Path, tape: Tape) -> None:
    loaded = calibration.load(saved)
    assert loaded.origin == str(saved)
    for pair in (PAIR, "SOL/USDT:USDT"):
        found = loaded.of(pair)
        assert found.evidence == fitted.evidence
        assert found.provenance == json.loads(json.dumps(dict(fitted.provenance)))
        own, p = fitted.parameters, found.parameters
        assert (p.report_factor, p.score, p.turnover) == (own.report_factor, own.score, own.turnover)
        np.testing.assert_allclose(standing_of(p), standing_of(own), rtol=1e-12)
        np.testing.assert_allclose(fit.sweeps(tape, p, HOURS[-50:]), fit.sweeps(tape, own, HOURS[-50:]), rtol=1e-9)
    assert [p.name for p in saved.parent.iterdir()] == ["mix.json"]
    again = saved.with_name("again.json")
    calibration.save(loaded, again)
    twice = standing_of(calibration.load(again).parameters(PAIR))
    np.testing.assert_allclose(twice, standing_of(fitted.parameters), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"theta": 0.6', '"theta": 0.7', 1), "does not fit its sha256"),
        (lambda text: text.replace(calibration.FORMAT, "liqsignals-calibration/9"), "'liqsignals-calibration/9'"),
        (lambda text: text[:-40], "not a calibration"),
        (lambda text: "[]", "not a calibration"),
        (lambda text: json.dumps({"format": calibration.FORMAT}), "not a calibration"),
    ],
    ids=["edited", "other format", "torn", "a list", "empty"],
)
def test_files_that_are_no_calibration_are_refused(saved: Path, change, words: str) -> None:
    text = change(saved.read_text())
    assert text != saved.read_text()
    saved.write_text(text)
    with pytest.raises(InputError) as caught:
        calibration.load(saved)
    assert words in str(caught.value)
    assert str(saved) in str(caught.value)
    assert "Way out: make it anew with liqsignals calibrate" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read"):
        calibration.load(tmp_path / "nothing.json")


def test_what_the_config_names_is_what_the_signals_use(saved: Path, fitted: Fitted, tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, make_market(1.0))
    config = {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}}

    def signals(**block: str) -> Signals:
        return Signals.from_config({**config, "liqsignals": block})

    assert signals().calibration == calibration.default()
    prior = signals(calibration="none").calibration
    assert (prior.parameters(PAIR), prior.parameters(PAIR).score) == (Parameters(), None)
    assert signals(calibration=str(saved)).calibration.parameters(PAIR).score == fitted.parameters.score
    with pytest.raises(InputError, match=r"nothing\.json"):
        signals(calibration=str(tmp_path / "nothing.json"))
    with pytest.raises(
        InputError, match=r"unknown key calibrations .*known are: allow_unproven, calibration, extras, finest"
    ):
        signals(calibrations="none")


# --- the command


def test_the_command_writes_a_calibration(
    planted: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datadir = write_datadir(tmp_path, make_market(DAYS, seed=33, volatility=0.0017))
    table, out = tmp_path / "real.parquet", tmp_path / "out.json"
    pd.DataFrame({"date": to_dates(HOURS), "liq_long_usd": planted.usd[0], "liq_short_usd": planted.usd[1]}).to_parquet(
        table, index=False
    )
    base = ["liqsignals", "calibrate", "-d", str(datadir), "-p", PAIR, "-l", str(table)]
    monkeypatch.setattr(sys, "argv", [*base, "-o", str(out), "--until", "2026-01-22T00:00:00Z"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "out.json" in capsys.readouterr().out
    found = calibration.load(out)
    assert found.of(PAIR).provenance["span"][1] == "2026-01-22T00:00:00Z"
    monkeypatch.setattr(sys, "argv", [*base, "-p", "ETH/USDT:USDT", "-o", str(out)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "2 --pair but 1 --liquidations" in " ".join(capsys.readouterr().err.split())


# --- the shipped one


def test_the_shipped_calibration_has_a_score_and_evidence() -> None:
    shipped = calibration.default()
    assert shipped.origin == "default"
    for fitted in (shipped.pooled, *shipped.markets.values()):
        assert fitted.parameters.score is not None
        assert 0.5 < fitted.parameters.score < 1.0
        assert any(fitted.evidence)
        assert {"source", "pairs", "span", "hours", "data_sha256", "out_of_sample"} <= set(fitted.provenance)


@needs_real_data
def test_the_shipped_calibration_is_fitted_on_the_data_that_it_names() -> None:
    provenance = calibration.default().of(PAIR).provenance
    tape = read_tape(REAL / "binance", PAIR, exchange="binance")
    real = liquidations.read(REAL / "validation" / "BTC-1h-liquidations-binance-bybit-okx.parquet", tape)
    start, stop = (parse_time(t) for t in provenance["span"])
    kept = (real.hours >= start) & (real.hours + HOUR <= stop)
    assert provenance["hours"] == kept.sum()
    assert provenance["data_sha256"] == fit.digest([Market(tape, real.hours[kept], real.usd[:, kept])])


@pytest.mark.parametrize("name", [False, True, 5, ""])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="must be the name of a file"):
        calibration.choose(name)


def test_a_binary_file_is_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a calibration"):
        calibration.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("hazard", -1.0), ("low", float("nan")), ("doubt", [0.5]), ("doubt", [1.2, 2.0]), ("standing", 0.0)],
)
def test_a_class_that_cannot_be_is_refused(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "c.json"
    calibration.save(calibration.uncalibrated(), path)
    content = json.loads(path.read_text())
    content["markets"]["pooled"]["classes"][0][field] = value
    content["sha256"] = calibration.content_hash({"markets": content["markets"]})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"not a calibration.*Way out"):
        calibration.load(path)
