"""What a hostile provider, a closed folder, a second process or a signal may not do."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import permissions
import pytest
from aiohttp import web
from conftest import (
    PAIR,
    ROOT,
    START,
    FakeProvider,
    assert_same_bits,
    labelled,
    make_market,
    needs_faketime,
    write_datadir,
)

from liqsignals import Signals, files
from liqsignals.clock import DAY
from liqsignals.collect import fetch
from liqsignals.collect.capture import Notices
from liqsignals.collect.download import KEYED, Plan, download
from liqsignals.data import store
from liqsignals.doctor import firstcontact
from liqsignals.errors import InputError
from liqsignals.exchange.serving import served
from liqsignals.replay.bot import Bot, Settings
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.idle import Traffic
from liqsignals.sources.spec import ParseError

Handler = Callable[[web.Request], "web.StreamResponse | object"]
#: With characters that addresses and JSON spell otherwise.
KEY = 'Zq9/xW+pL7vK"2mN8rT4=yB6c'


@contextmanager
def vendor(handler: Handler) -> Iterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    with served(app, "hostile-vendor", 0.1) as port:
        yield f"http://127.0.0.1:{port}"


# Keys


def parts_of_the_key(text: str) -> list[str]:
    """Every part of 6 characters of the key, in whatever spelling, that a text holds."""
    spelled = (KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1])
    parts = {form[i : i + 6].lower() for form in spelled for i in range(len(form) - 5)}
    text = text.lower()
    return sorted(part for part in parts if part in text)


ECHOES: dict[str, Callable[[str], web.Response]] = {
    "redirect": lambda key: web.Response(status=302, headers={"Location": f"/login?next=a&api_key={quote(key)}"}),
    "redirect with the key in its path": lambda key: web.Response(
        status=307, headers={"Location": f"https://elsewhere.example/{quote(key, safe='')}/x"}
    ),
    "redirect with a fragment": lambda key: web.Response(status=301, headers={"Location": f"/a#token={quote(key)}"}),
    "401": lambda key: web.Response(status=401, text=f"no such key: {key}"),
    "403": lambda key: web.json_response({"error": f"key {key} is not allowed"}, status=403),
    "400": lambda key: web.Response(status=400, text=f"bad request: /v1?api_key={quote(key, safe='')}&a=1"),
    "451": lambda key: web.Response(status=451, text=key),
    "500": lambda key: web.Response(status=500, text=key, reason="Oops"),
    "cut in its middle": lambda key: web.Response(status=400, text="x" * 190 + key),
    "in capitals": lambda key: web.Response(status=400, text=key.upper()),
    "a page": lambda key: web.Response(text=f"<html>{key}</html>", content_type="text/html"),
    "no JSON": lambda key: web.Response(text=f"{key} is unknown"),
    "another list": lambda key: web.json_response([key]),
    "an error inside a good answer": lambda key: web.json_response({"code": key, "msg": key, "status": key}),
    "rows": lambda key: web.json_response({"code": "0", "data": [{"time": key, "t": key, "v": key}]}),
    "history": lambda key: web.json_response([{"symbol": key, "history": [{"t": key, "l": key, "s": key}]}]),
    "a header": lambda key: web.Response(status=429, headers={"Retry-After": quote(key)}),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_is_in_no_output_log_or_file(
    echo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: object
) -> None:
    for provider in KEYED:
        monkeypatch.setenv(provider.key_env or "", KEY)
    _skip_waits(monkeypatch)
    caplog.set_level(logging.DEBUG)
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        sent = [*request.headers.values(), *request.query.values()]
        asked.extend(value for value in sent if KEY in value)
        return ECHOES[echo](KEY)

    logged: list[str] = []
    with vendor(handler) as url:
        urls = {provider.name: url for provider in KEYED}
        (tmp_path / "binance" / "futures").mkdir(parents=True)
        plan = Plan(
            tmp_path / "binance", "binance", (PAIR,), START, START + DAY, steps=("keyed",), urls=urls, now=START + DAY
        )
        report = download(plan, logged.append)
    assert len(asked) >= len(KEYED)  # the vendors did have it
    assert report.problems
    said = capfd.readouterr()  # type: ignore[attr-defined]
    written = [p.read_text("latin-1") for p in tmp_path.rglob("*") if p.is_file()]
    for text in (*logged, *report.problems, *report.notes, said.out, said.err, caplog.text, *written):
        assert parts_of_the_key(text) == [], text


def _skip_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only waiting moves: rate limits and pauses take no time."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(fetch, "sleep", sleep)
    monkeypatch.setattr(fetch, "clock", lambda: now)


def test_a_recorders_notices_hide_keys_and_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYED[0].key_env or "", KEY)
    logged: list[str] = []
    Notices(logged.append).limited("a", f"lost ws://user:pass@host/path?listenKey=abcdef ({KEY})")
    assert logged == ["lost ws://[hidden]@host/path?[hidden] ([hidden])"]


@pytest.mark.parametrize("key", ["two\nlines", "umlaut-ä-key"])
def test_a_key_that_no_request_could_carry_is_named_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGLASS_API_KEY", key)
    with pytest.raises(InputError, match="COINGLASS_API_KEY: holds characters") as caught:
        fetch.key_of(KEYED[0])
    assert key not in str(caught.value)


# Bounds


def bomb(size: int) -> bytes:
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packed.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packed.flush()


def twice(packed: bytes) -> bytes:
    again = zlib.compressobj(9, zlib.DEFLATED, 31)
    return again.compress(packed) + again.flush()


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "deflate"])
def test_doctor_takes_no_more_than_its_bound(encoding: str) -> None:
    body = bomb(256 << 20)
    if encoding == "gzip, gzip":
        body = twice(body)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    with vendor(handler) as url:
        ask = firstcontact.Ask(dict.fromkeys(firstcontact.URLS, url))
        tracemalloc.start()
        with pytest.raises(ParseError, match=r"longer than 2048 KiB|was not asked for"):
            ask.get("okx", "/x")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("where", ["header", "body"])
def test_doctor_waits_no_longer_than_its_bound(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps a connection alive for ever."""
    monkeypatch.setattr(firstcontact, "REQUEST_TIME", 0.5)
    stop = threading.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        import asyncio

        response = web.StreamResponse()
        if where == "body":
            await response.prepare(request)
        while not stop.is_set():
            await asyncio.sleep(0.05)
            if where == "body":
                await response.write(b" ")
        return response

    with vendor(handler) as url:
        ask = firstcontact.Ask(dict.fromkeys(firstcontact.URLS, url))
        with pytest.raises(TimeoutError, match=r"none within 0\.5 s"):
            ask.get("okx", "/x")
        late = firstcontact.Ask(dict.fromkeys(firstcontact.URLS, url), until=time.monotonic() - 1)
        with pytest.raises(TimeoutError, match="for all checks are over"):
            late.get("okx", "/x")
        stop.set()


# Two at once


def test_one_download_in_a_data_directory_whatever_its_extras(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "binance", "binance", (PAIR,), START, START + DAY, extras=tmp_path / "e", now=START + DAY)
    with store.writer(tmp_path / "binance", "download"):
        with pytest.raises(InputError, match=f"process {os.getpid()}\\) writes into .*binance"):
            download(plan, lambda text: None)
        # What writes none of freqtrade's files may run beside it, also where the data directory is read-only.
        only = Plan(plan.datadir, "binance", (PAIR,), START, START + DAY, extras=plan.extras, steps=("macro",))
        assert download(only, lambda text: None).problems == []


def test_extras_inside_the_data_directory_do_not_lock_it_twice(tmp_path: Path) -> None:
    datadir = tmp_path / "binance"
    plan = Plan(datadir, "binance", (), START, START + DAY, extras=datadir, steps=("interest",), now=START + 40 * DAY)
    assert download(plan, lambda text: None).problems == []


def test_sweeping_leaves_what_a_running_writer_has_open(tmp_path: Path) -> None:
    folder = tmp_path / "bar" / "binance" / "X-5m"
    folder.mkdir(parents=True)
    left = folder / ".2026-01.parquet-1a2b.tmp"
    left.write_text("of a killed process")
    with files.replaced(folder / "2026-02.parquet") as temporary:
        temporary.write_text("half")
        files.sweep(tmp_path)
        assert not left.exists()
        temporary.write_text("whole")
    assert (folder / "2026-02.parquet").read_text() == "whole"
    assert [p.name for p in folder.iterdir()] == ["2026-02.parquet"]


# Modes of files


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_the_umask_counts(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with files.replaced(tmp_path / "a") as temporary:
            temporary.write_text("")
        with files.replaced(tmp_path / "secret", private=True) as temporary:
            temporary.write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a").chmod(0o640)
    with files.replaced(tmp_path / "a") as temporary:
        temporary.write_text("")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@needs_faketime
def test_the_bots_password_is_for_the_user_alone(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "c.json", tmp_path, tmp_path, "S", tmp_path, (PAIR,), "5m", tmp_path / "run")
    bot = Bot(settings, tmp_path / "overlay.json", MarketClock(tmp_path / "clock", 0), Traffic())
    assert bot.password in (tmp_path / "run" / "bot.json").read_text()
    assert (tmp_path / "run" / "bot.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_closed_files_and_folders_are_one_line_and_exit_code_2() -> None:
    with tempfile.TemporaryDirectory(prefix="liqsignals-closed-") as made:
        folder = Path(made)
        market = make_market(20, funding_days=5)
        datadir = write_datadir(folder, market)
        (flows,) = (datadir / "liqsignals" / "flows").iterdir()
        flows.rename(flows.with_name("btc.csv"))
        hours = market.candles["date"].iloc[::12].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        pd.DataFrame({"time": hours, "long_usd": 1e3, "short_usd": 500.0}).to_csv(folder / "table.csv", index=False)
        (folder / "config.json").write_text("{}")
        shutil.copytree(ROOT / "user_data" / "strategies", folder / "user_data" / "strategies")
        # Root without its right to read and write everything: the environment may be closed to other users.
        command = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if command and (not shutil.which("setpriv") or subprocess.run([*command, "true"], check=False).returncode):
            pytest.skip("as root this test needs setpriv, which is not here or not allowed")
        command += [sys.executable, str(Path(__file__).with_name("permissions.py")), made]
        environment = {**os.environ, "HOME": made}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(permissions.CASES)
    for name, case in found.items():
        closed, _, _, code = permissions.CASES[name]
        # A usage error of typer's is broken over the lines of a box.
        said = "".join(case["said"].translate({ord(c): "" for c in "│╭╮╰╯─\n "}).split())
        assert case["code"] == code, (name, case)
        assert "Traceback" not in case["said"], (name, case)
        if code == 2 and name != "download's file":
            assert closed.removeprefix("other/").split("/")[0] in said, (name, case)


# Signals


WAITS = """#!/bin/sh
sleep 300 &
echo $$ $! > "$PIDS.new"
mv "$PIDS.new" "$PIDS"
wait
"""
COMMAND = """
import sys
from liqsignals.collect import freqtrade_command
program = sys.argv.pop(1)
freqtrade_command.executable = lambda: program
from liqsignals.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, None)])
def test_a_stopped_download_leaves_no_process_and_no_file(number: int, code: int | None, tmp_path: Path) -> None:
    datadir = tmp_path / "binance"
    (datadir / "futures").mkdir(parents=True)
    program, pids = tmp_path / "freqtrade", tmp_path / "pids"
    program.write_text(WAITS)
    program.chmod(0o755)
    command = [sys.executable, "-c", COMMAND, str(program)]
    command += ["download", "-d", str(datadir), "-p", PAIR, "--days", "1", "--only", "candles"]
    # Behind a proxy the exchange's name is not looked up beforehand: the command gets as far as freqtrade.
    process = subprocess.Popen(
        command,
        env={**os.environ, "PIDS": str(pids), "HTTPS_PROXY": "http://127.0.0.1:9"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not pids.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    ended = process.wait(60)
    assert ended == code if code is not None else ended != 0
    for pid in map(int, pids.read_text().split()):
        assert not Path(f"/proc/{pid}/stat").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    left = sorted(str(p.relative_to(datadir)) for p in datadir.rglob("*") if p.is_file() or p.name != "futures")
    assert left == [".download.lock", "liqsignals", "liqsignals/.download.lock"]


# Threads


def test_attach_from_several_threads_gives_the_frames_of_one(tmp_path: Path) -> None:
    """Views of a bot that go back and forth: each changes the live rows and the map state that all share."""
    market = make_market(20)
    datadir = write_datadir(tmp_path, market.upto(market.candles["date"].iloc[3000]))

    def attach(signals: Signals, end: int) -> pd.DataFrame:
        seen = market.upto(market.candles["date"].iloc[end])
        rows = {
            ("5m", "futures"): seen.candles,
            ("5m", "open_interest"): labelled(seen.interest),
            ("1h", "funding_rate"): seen.funding,
        }
        return signals.attach(seen.candles.iloc[-700:], PAIR, "5m", dp=FakeProvider(rows))

    ends = [3300, 5700, 3600, 5500, 3900, 5200, 3450, 5600]
    alone = [attach(Signals(datadir), end) for end in ends]
    signals = Signals(datadir)
    # Threads switch as often as they can: what is not locked is mixed up soon.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                for frame, want in zip(pool.map(lambda end: attach(signals, end), ends), alone, strict=True):
                    assert_same_bits(frame, want)
    finally:
        sys.setswitchinterval(interval)


def test_signals_are_pickled_without_their_lock(tmp_path: Path) -> None:
    """hyperopt sends a strategy with its signals to its workers."""
    cloudpickle = pytest.importorskip("cloudpickle")
    market = make_market(2)
    signals = Signals(write_datadir(tmp_path, market))
    want = signals.attach(market.candles, PAIR, "5m")
    assert_same_bits(cloudpickle.loads(cloudpickle.dumps(signals)).attach(market.candles, PAIR, "5m"), want)
