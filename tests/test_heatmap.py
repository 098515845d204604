"""The picture of the map: equal to the headline, causal, self-contained; drawn in a browser where there is one."""

import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, hover, needs_chromium
from conftest import PAIR, make_market, write_datadir

from liqsignals import cli
from liqsignals.data.tape import map_tape
from liqsignals.liqmap import calibration
from liqsignals.liqmap.kernels import LONG, SHORT
from liqsignals.replay.picture import trades_of
from liqsignals.report import heatmap
from liqsignals.report.console import price_text
from liqsignals.report.heatmap import Picture, colour_scale, picture
from liqsignals.report.heatmap_html import page


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datadir(tmp_path_factory.mktemp("heatmap"), make_market(4.0, seed=11))


def drawn(datadir: Path, before: int = 0, **more) -> Picture:
    """The picture of the last candle but `before`."""
    tape = map_tape(datadir, PAIR, None, None, "5m")
    return picture(tape, int(tape.bars["event_time"][-1 - before]), calibration.default().parameters(PAIR), **more)


@pytest.fixture(scope="module")
def pic(datadir: Path) -> Picture:
    return drawn(datadir)


def test_the_profile_adds_up_to_the_headlines_columns(pic: Picture) -> None:
    middles = np.sqrt(pic.prices[1:] * pic.prices[:-1])
    close = pic.head["price"]
    for band in (1, 2, 5, 10):
        up = pic.profile[SHORT, (middles > close) & (middles <= close * (1 + band / 100))].sum()
        down = pic.profile[LONG, (middles < close) & (middles >= close * (1 - band / 100))].sum()
        # Summed in another order.
        np.testing.assert_allclose(
            (up, down), (pic.head[f"liq_short_usd_{band}pct"], pic.head[f"liq_long_usd_{band}pct"]), rtol=1e-12
        )


def test_longs_stand_below_the_close_and_shorts_above_it(pic: Picture) -> None:
    middles = np.sqrt(pic.prices[1:] * pic.prices[:-1])[:, None]
    close = pic.candles[3]
    longs, shorts = (pic.heat > 0) & (pic.heat < 128), pic.heat > 128
    assert longs.any()
    assert shorts.any()
    assert not (longs & (middles >= close)).any()
    assert not (shorts & (middles <= close)).any()


def test_a_column_is_what_the_map_held_then(datadir: Path, pic: Picture) -> None:
    """A picture that ends earlier has the same columns, but for the scale of its colours."""
    earlier = drawn(datadir, before=300)
    n = earlier.heat.shape[1]
    shift = earlier.row - pic.row
    np.testing.assert_array_equal(earlier.candles, pic.candles[:, :n])
    rows = slice(max(shift, 0), max(shift, 0) + min(len(earlier.heat), len(pic.heat)) - abs(shift))
    own = slice(max(-shift, 0), max(-shift, 0) + rows.stop - rows.start)
    np.testing.assert_array_equal(earlier.heat[own] > 0, pic.heat[rows, :n] > 0)
    for panel in earlier.panels:
        (same,) = [p for p in pic.panels if p.name == panel.name]
        for mine, theirs in zip(panel.series, same.series, strict=True):
            # The hour that is not over has another sum.
            np.testing.assert_array_equal(mine.values[:-12], theirs.values[: n - 12])


def test_a_long_span_has_coarser_candles(datadir: Path, pic: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmap, "MOST_CANDLES", pic.heat.shape[1] // 3 + 1)
    coarse = drawn(datadir)
    assert coarse.step == 3 * pic.step
    assert np.nanmax(coarse.candles[1]) == np.nanmax(pic.candles[1])
    assert coarse.candles[3, -1] == pic.candles[3, -1]
    np.testing.assert_array_equal(coarse.profile, pic.profile)


def test_colours_rise_evenly_and_name_their_side() -> None:
    for dark in (True, False):
        scales = np.array([
            [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colour_scale(side, dark)] for side in (LONG, SHORT)
        ])  # fmt: skip
        luma = scales @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(luma if dark else -luma, axis=1) > -1.0).all()
        assert (scales[LONG, :, 2] > scales[LONG, :, 0]).all()
        assert (scales[SHORT, :, 0] > scales[SHORT, :, 2]).all()


def test_the_page_carries_what_map_prints_and_asks_for_nothing(
    datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.html"
    monkeypatch.setattr(
        sys, "argv", ["liqsignals", "map", "-d", str(datadir), "-p", PAIR, "--json", "--html", str(out)]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    text = out.read_text()
    (carried,) = re.findall(r'id="headline">(.*?)</script>', text)
    assert json.loads(carried) == printed
    clusters = [c for side in printed["clusters"].values() for c in side]
    assert clusters
    assert all(f"<td>{price_text(c['price'])}</td>" in text for c in clusters)
    assert "://" not in text


def test_what_a_name_holds_cannot_end_the_script(pic: Picture) -> None:
    trade = {
        "open": pic.start,
        "close": pic.start,
        "open_rate": 1.0,
        "close_rate": 1.0,
        "is_short": False,
        "profit": 0.0,
    }
    text = page(Picture(**{**vars(pic), "trades": ({**trade, "strategy": "</script><b>"},)}))
    assert text.count("</script>") == 3


def test_a_png_without_a_browser(datadir: Path, tmp_path: Path, pic: Picture) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra see)")
    from liqsignals.report.heatmap_png import write_png

    head = write_png(pic, tmp_path / "map.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (1600, 1000)


def test_trades_of_a_backtests_file(tmp_path: Path) -> None:
    trade = {
        "pair": PAIR, "open_date": "2026-01-05 10:00:00+00:00", "close_date": "2026-01-05 12:05:00+00:00",
        "open_rate": 100.0, "close_rate": 101.0, "is_short": True, "profit_ratio": -0.03,
    }  # fmt: skip
    path = tmp_path / "backtest-result-1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        content = {"strategy": {"S": {"trades": [trade, {**trade, "pair": "ETH/USDT:USDT"}]}}}
        archive.writestr("backtest-result-1.json", json.dumps(content))
    (found,) = trades_of([path], PAIR)
    assert (found["strategy"], found["is_short"], found["profit"]) == ("S", True, -0.03)
    assert found["close"] - found["open"] == 125 * 60 * 10**9


@needs_chromium
def test_a_browser_draws_it_and_shows_price_usd_and_side(pic: Picture, tmp_path: Path) -> None:
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed (make test installs it)")
    from selenium.webdriver.support.wait import WebDriverWait

    out = tmp_path / "map.html"
    out.write_text(page(pic))
    with chromium() as browser:
        browser.get(out.as_uri())
        wait = WebDriverWait(browser, 60)
        wait.until(lambda b: b.execute_script("return document.getElementById('chart').dataset.painted"))

        readout = hover(browser, 0.06)
        assert re.search(r"UTC · price [\d,.]+ .*shorts: ≈ [\d.]+ [kMB] USD", readout), readout
        pixels = (
            "const c = document.querySelector('#chart canvas');"
            "const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return Array.from(data).reduce((a, b, i) => i % 4 < 3 ? (a * 31 + b) % 1e9 : a, 0)"
        )
        whole = browser.execute_script(pixels)
        browser.find_element("css selector", "input[value=long]").click()
        wait.until(lambda b: b.execute_script(pixels) != whole)
        browser.find_element("css selector", "input[value=both]").click()
        wait.until(lambda b: b.execute_script(pixels) == whole)
        assert [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
