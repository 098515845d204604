"""The live page: what it answers and to whom, its lamps, and a browser that watches the data grow."""

import asyncio
import gzip
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, hover, needs_chromium
from conftest import FIVE, PAIR, STEM, Market, make_market, ns, write_datadir

from liqsignals import cli
from liqsignals.clock import HOUR, MINUTE, iso
from liqsignals.data import coverage
from liqsignals.data.rawlog import RawLog
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.exchange.serving import served
from liqsignals.liqmap import calibration
from liqsignals.report.headline import headline_on_disk
from liqsignals.serve.app import application
from liqsignals.serve.board import Board
from liqsignals.serve.bot import Bot
from liqsignals.serve.lamps import lamps

ETH, ETH_STEM = "ETH/USDT:USDT", "ETH_USDT_USDT"
MARKET = make_market(4.0, seed=11)
#: Close of the last candle that is on disk at first.
END = int(ns(MARKET.candles["date"])[-3]) + FIVE


def grown(root: Path, until: int) -> Path:
    """The data directory with what had closed by `until` (ns)."""
    candles = MARKET.candles[ns(MARKET.candles["date"]) + FIVE <= until]
    interest = MARKET.interest[ns(MARKET.interest["date"]) <= until]
    part: Market = replace(MARKET, candles=candles, interest=interest)
    write_datadir(root, part, stem=ETH_STEM, flows=False)
    return write_datadir(root, part, stem=STEM)


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    return grown(tmp_path, END)


def board(datadir: Path, **more: Any) -> Board:
    more.setdefault("now", lambda: END + MINUTE)
    return Board(datadir, datadir / "liqsignals", "binance", [PAIR, ETH], calibration.default(), days=1.0, **more)


@contextmanager
def served_board(datadir: Path, port: int = 0, token: str | None = None, **more: Any) -> Iterator[str]:
    with served(application(board(datadir, **more), token=token), "live", 0.1, port) as bound:
        yield f"http://127.0.0.1:{bound}"


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            body = answer.read()
            plain = gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
            return answer.status, dict(answer.headers), plain
    except urllib.error.HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read()


def test_the_picture_has_the_headline_of_map_json(datadir: Path) -> None:
    with served_board(datadir) as url:
        status, _, body = ask(f"{url}/picture?pair={PAIR}")
    assert status == 200
    tape = map_tape(datadir, PAIR, None, None, "5m")
    head = headline_on_disk(tape, END, calibration.default(), datadir)
    assert json.loads(body)["head"] == json.loads(json.dumps(head))


def test_every_answer_forbids_third_parties_and_writing(datadir: Path) -> None:
    with served_board(datadir) as url:
        for path in ("/", "/heatmap.js", "/live.js", "/live.css", "/picture?pair=nope", "/nope"):
            status, headers, body = ask(url + path)
            assert status == (404 if "nope" in path else 200), path
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'"), path
            assert b"http" not in body.replace(b"http://127.0.0.1:8080", b""), path
        page = ask(url)[2].decode()
        assert not re.search(r"<script(?![^>]* src=\"/)|<style|style=| on\w+=", page)
        request = urllib.request.Request(f"{url}/picture?pair={PAIR}", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, timeout=10)


def test_another_name_for_this_machine_is_refused(datadir: Path) -> None:
    with served_board(datadir) as url:
        assert ask(url, Host="evil.example")[0] == 403
        assert ask(url, Host="localhost:1")[0] == 200


def test_a_token_is_wanted_where_one_is_set(datadir: Path) -> None:
    token = "0123456789abcdef"
    with served_board(datadir, token=token) as url:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "liqsignals=wrong"}):
            assert ask(f"{url}/live.js", **given)[0] == 401, given
        assert ask(f"{url}/live.js", Authorization=f"Bearer {token}")[0] == 200
        assert ask(f"{url}/live.js", Cookie=f"liqsignals={token}")[0] == 200
        assert ask(f"{url}/?token={token}x")[0] == 401


def test_beyond_loopback_a_long_token_is_needed(datadir: Path) -> None:
    for host, token in (("0.0.0.0", None), ("192.0.2.1", None), ("::", None), ("127.0.0.1", "short")):
        with pytest.raises(InputError, match="token"):
            application(board(datadir), host, token)
    application(board(datadir), "0.0.0.0", "0123456789abcdef")


def test_lamps_name_what_is_stale_since_when_and_the_way_out() -> None:
    row = {"series": f"{STEM}-5m-futures", "age_h": 0.1, "max_age_h": 0.17}
    report = {"at": iso(END), "series": [row, {**row, "series": "flows/x", "max_age_h": None}], "streams": []}
    early, late = (lamps(report, [PAIR], Path("d"), "binance", END + at) for at in (0, HOUR))
    first = {lamp["name"]: lamp for lamp in early[PAIR]}
    assert first["candles"] == {"name": "candles", "state": "fresh", "since": iso(END - 6 * MINUTE), "remedy": ""}
    assert first["funding"]["state"] == "missing"
    assert "download-data" in first["funding"]["remedy"]
    then = next(lamp for lamp in late[PAIR] if lamp["name"] == "candles")
    assert (then["state"], then["since"]) == ("stale", iso(END + 4 * MINUTE))
    assert early[""] == []


def test_a_bot_that_is_not_there_is_said_and_its_password_is_not() -> None:
    bot = Bot("http://127.0.0.1:9", "user", "secret-word")
    with pytest.raises(InputError, match="no answer from the bot") as raised:
        asyncio.run(bot.open_trades())
    assert "secret-word" not in str(raised.value) + repr(bot)


def test_who_comes_after_nobody_watched_gets_no_old_picture(datadir: Path, tmp_path: Path) -> None:
    time_now = [END + MINUTE]
    made = board(datadir, now=lambda: time_now[0])
    first = asyncio.run(made.shot(PAIR))
    grown(tmp_path, END + 2 * FIVE)
    time_now[0] = END + 2 * FIVE + MINUTE
    then = asyncio.run(made.shot(PAIR))
    assert first is not None
    assert then is not None
    assert (first.at, then.at) == (END, END + 2 * FIVE)
    made.close()


def test_unreadable_data_is_an_error_on_the_page_and_the_last_picture_stays(datadir: Path) -> None:
    made = board(datadir)
    first = asyncio.run(made.shot(PAIR))
    (datadir / "futures" / f"{STEM}-5m-futures.feather").write_bytes(b"torn")
    made.watched[PAIR].shot = None
    assert asyncio.run(made.shot(PAIR)) is None
    assert f"{STEM}-5m-futures.feather" in made.state()["pairs"][PAIR]["error"]
    assert first is not None
    made.close()


def test_the_command_names_what_is_wrong(datadir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    for arguments, words in ((["--pairs", "NOPE"], "NOPE"), (["--host", "0.0.0.0"], "token")):
        monkeypatch.setattr("sys.argv", ["liqsignals", "serve", "-d", str(datadir), *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
@needs_chromium
def test_a_browser_follows_the_data_and_comes_back_after_an_outage(datadir: Path, tmp_path: Path) -> None:
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed (make test installs it)")
    from selenium.webdriver.support.select import Select
    from selenium.webdriver.support.wait import WebDriverWait

    time_now = [END + MINUTE]
    alive = {"stream": "liquidations", "since": END - HOUR, "until": END}
    for channel in (coverage.ALIVE, "liquidations"):
        log = RawLog(datadir / "liqsignals" / "raw" / "binance", channel)
        log.add(END, json.dumps(alive).encode())
        log.flush()
    close = float(MARKET.candles["close"].iloc[-3])
    trade = {
        "pair": PAIR,
        "is_short": False,
        "leverage": 3.0,
        "open_timestamp": (END - HOUR) // 10**6,
        "open_rate": close,
    }

    async def trades() -> list[dict[str, Any]]:
        return [trade | {"stop_loss_abs": close * 0.99, "profit_ratio": 0.0}]

    more = {"now": lambda: time_now[0], "trades": trades}
    with chromium() as browser:
        wait = WebDriverWait(browser, 60)

        def shows(until: int, pair: str = PAIR) -> None:
            script = "const d = document.getElementById('chart').dataset; return d.at + ' ' + d.pair"
            wait.until(lambda b: b.execute_script(script) == f"{iso(until)} {pair}")

        def lamp(name: str) -> str:
            script = "return [...document.querySelectorAll('#lamps li')].map((e) => [e.textContent, e.className])"
            return next((state for text, state in browser.execute_script(script) if text.startswith(name)), "")

        def marked(browser: Any) -> int:
            """Pixels of the map in the colour of trades."""
            return int(browser.execute_script(
                "const c = document.querySelector('#chart canvas');"
                "const name = getComputedStyle(document.documentElement).getPropertyValue('--trade').trim();"
                "const [r, g, b] = [1, 3, 5].map((i) => parseInt(name.slice(i, i + 2), 16));"
                "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
                "let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] === r && d[i + 1] === g && d[i + 2] === b;"
                "return n"
            ))  # fmt: skip

        with served_board(datadir, **more) as url:
            browser.get(url)
            shows(END)
            wait.until(lambda b: marked(b) > 20)  # an open trade's entry and stop
            assert re.search(r"UTC · price [\d,.]+ .*shorts: ≈ [\d.]+ [kMB] USD", hover(browser, 0.06))
            wait.until(lambda b: lamp("recorder: binance") == "fresh")
            assert browser.find_element("id", "health").text.endswith("all inputs fresh")
            time_now[0] = END + FIVE + MINUTE
            grown(tmp_path, END + FIVE)
            shows(END + FIVE)
            # Ten minutes without a sign of life are allowed.
            assert lamp("recorder: binance") == "fresh"
            time_now[0] = END + 11 * MINUTE
            wait.until(lambda b: lamp("recorder: binance") == "stale")
            assert "recorder: binance liquidations (stream) stale" in browser.find_element("id", "health").text
            Select(browser.find_element("id", "pair")).select_by_value(ETH)
            shows(END + FIVE, ETH)
            wait.until(lambda b: marked(b) == 0)
        wait.until(lambda b: "lost" in b.find_element("id", "connection").text)
        grown(tmp_path, END + 2 * FIVE)
        with served_board(datadir, int(url.rpartition(":")[2]), **more):
            shows(END + 2 * FIVE, ETH)
            assert "live" in browser.find_element("id", "connection").text
        problems = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
        # The outage itself is the one thing that the browser reports.
        assert [line for line in problems if "ERR_" not in line] == []
