"""The map as freqtrade's annotations: lives of clusters, what freqtrade accepts, and that nothing raises."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PAIR, make_market, write_datadir

from liqsignals import Signals
from liqsignals.clock import MINUTE
from liqsignals.liqmap import STEP, FoldState, kernels
from liqsignals.report.headline import headline
from liqsignals.strategy.annotations import Life, Reading, View, annotations, lives

ORIGIN = 20_000
PRICE = np.exp((ORIGIN + np.arange(600) + 0.5) * STEP)


def reading(candle: int, *clusters: tuple[int, int, float]) -> Reading:
    """A map of clusters, (side, bucket, USD), each within one bucket and 5 buckets wide on either side."""
    usd = np.zeros((2, len(PRICE)))
    rows: tuple[list, list] = ([], [])
    for side, bucket, worth in clusters:
        usd[side, bucket] += worth
        rows[side].append((PRICE[bucket], worth, PRICE[bucket - 5], PRICE[bucket + 5]))
    return Reading(candle, tuple(np.array(r).reshape(-1, 4) for r in rows), usd, PRICE, ORIGIN)


def told(seen: list[Reading], high: dict[int, float] | None = None, n: int = 10) -> list[Life]:
    """Lives over n candles at bucket 300, with the highs given."""
    top = np.full(n, PRICE[301])
    for candle, price in (high or {}).items():
        top[candle] = price
    return lives(seen, top, np.full(n, PRICE[299]))


def test_a_cluster_is_swept_by_the_candle_that_reaches_it_whenever_the_map_was_read() -> None:
    seen = [reading(k, (kernels.SHORT, 400, 5e6)) for k in (1, 4)] + [reading(7)]
    (life,) = told(seen, {6: PRICE[400]})
    assert (life.born, life.last, life.swept, life.standing, life.usd) == (1, 6, True, False, 5e6)
    # A hair below it is not there; a map that lost it without being reached says closed.
    (life,) = told(seen, {6: PRICE[400] * (1 - 1e-9)})
    assert (life.last, life.swept, life.standing) == (7, False, False)


def test_longs_are_swept_from_above_only() -> None:
    seen = [reading(k, (kernels.LONG, 250, 5e6)) for k in (0, 9)]
    (life,) = told(seen, {5: PRICE[500]})
    assert life.standing
    assert not life.swept


def test_a_cluster_grows_moves_and_keeps_its_birth() -> None:
    (life,) = told([reading(0, (1, 400, 2e6)), reading(3, (1, 404, 2e6), (1, 400, 2e6)), reading(6, (1, 404, 6e6))])
    assert (life.born, life.price, life.usd) == (0, PRICE[404], 6e6)


def test_two_clusters_that_overlap_are_one_and_apart_are_two() -> None:
    assert len(told([reading(0, (1, 400, 2e6), (1, 412, 1e6))])) == 2
    assert len(told([reading(0, (1, 400, 2e6)), reading(1, (1, 400, 2e6), (1, 409, 1e6))])) == 1


def test_what_stands_has_the_newest_value() -> None:
    (life,) = told([reading(0, (1, 400, 5e6)), reading(9, (1, 400, 3e6))])
    assert life.standing
    assert life.usd == 3e6
    # And where the rule of clusters does not name it any more, what is left in its extent.
    faint = reading(9, (1, 400, 3e6))
    (life,) = told([reading(0, (1, 400, 5e6)), Reading(9, reading(9).rows, faint.usd, PRICE, ORIGIN)])
    assert life.standing
    assert life.usd == 3e6


MARKET = make_market(6.0, seed=4)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory):
    signals = Signals(write_datadir(tmp_path_factory.mktemp("annotations"), MARKET))
    return signals, signals.attach(MARKET.candles, PAIR, "5m").iloc[-1000:]


def test_standing_clusters_are_those_of_the_headline(shown) -> None:
    signals, frame = shown
    tape = signals.market(PAIR).disk.for_map()
    head = headline(
        tape, int(tape.bars["event_time"][-1]), float(tape.bars["close"][-1]), signals.calibration.parameters(PAIR)
    )
    named = [c for side in head["clusters"].values() for c in side]
    drawn = signals.annotations(PAIR, None, None, frame)
    boxes = {(a["y_start"], a["y_end"]) for a in drawn if a["type"] == "area"}
    assert named
    # A box of 40 may be left out as too small, never drawn elsewhere.
    assert sum((c["low"], c["high"]) in boxes for c in named) >= min(len(named), 3)


def test_freqtrade_accepts_every_annotation(shown, tmp_path: Path) -> None:
    signals, frame = shown
    more = frame.assign(squeeze_end_price=frame["close"] * 1.03, flush_end_price=np.nan)
    drawn = signals.annotations(PAIR, None, None, more)
    assert {a["type"] for a in drawn} == {"area", "point", "line"}
    assert [a["y_start"] for a in drawn if a.get("label") == "squeeze end"] == [more["squeeze_end_price"].iloc[-1]]
    assert not [a for a in drawn if a.get("label") == "flush end"]
    # In a process of its own: liqsignals' tests do not import freqtrade.
    (tmp_path / "drawn.txt").write_text(repr(drawn))
    check = (
        "import datetime, sys\n"
        "from freqtrade.ft_types.plot_annotation_type import AnnotationTypeTA\n"
        "for one in eval(open(sys.argv[1]).read()): AnnotationTypeTA.validate_python(one, extra='forbid')\n"
    )
    subprocess.run([sys.executable, "-c", check, str(tmp_path / "drawn.txt")], check=True)


def test_boxes_do_not_depend_on_what_came_after_the_last_candle(shown) -> None:
    signals, frame = shown
    cut = frame.iloc[:-200]
    fresh = Signals(signals.datadir)
    fresh.attach(MARKET.candles.iloc[:-200], PAIR, "5m")
    assert fresh.annotations(PAIR, None, None, cut) == signals.annotations(PAIR, None, None, cut)


def test_they_raise_nothing_and_say_why(shown, caplog: pytest.LogCaptureFixture) -> None:
    signals, frame = shown
    assert signals.annotations("NONE/USDT:USDT", None, None, frame) == []
    assert signals.annotations(PAIR, None, None, frame.iloc[:0]) == []
    assert caplog.text == ""
    assert signals.annotations(PAIR, None, None, frame.drop(columns="high")) == []
    assert "no annotations" in caplog.text


def test_the_cap_keeps_the_largest(shown) -> None:
    signals, frame = shown
    view = View.of(signals.market(PAIR).disk, FoldState(), signals.calibration.parameters(PAIR))
    every, few = (
        [a for a in annotations(view, frame, 5 * MINUTE, most=most) if a["type"] == "area"] for most in (1000, 5)
    )
    assert len(every) > 5 >= len(few)
    assert [(a["start"], a["y_start"]) for a in few] == [(a["start"], a["y_start"]) for a in every][: len(few)]
