"""Start, memory and CPU of bot, recorder, page and watcher beside a replayed market: `python -m benchmarks.stack
[--pairs 20]`.

The commands of docs/deploy.md, with the exchange's addresses on loopback, at the market's own time and speed. The pairs
are copies of three of the SIMULATED market's under other names. Memory is resident, of a process and its children; CPU
is theirs, too, while they start and afterwards. libfaketime, through which they see the market's time, is part of it.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Table, progress, show
from liqsignals.clock import parse_time
from liqsignals.exchange.archive import Archive
from liqsignals.replay.bot import free_port
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.session import as_of, replayed
from liqsignals.simulation.market import write_market

ROOT = Path(__file__).parents[1]
START = "2025-01-25T11:58:00Z"
MADE = ("BTC", "ETH", "SOL")
NAMES = (
    *MADE, "XRP", "DOGE", "ADA", "LINK", "AVAX", "DOT", "LTC", "BCH", "UNI", "NEAR", "APT", "ARB", "OP", "SUI", "TRX", "ATOM",
    "FIL", "ETC", "INJ", "AAVE", "TIA", "SEI", "WLD", "HBAR", "ICP", "XLM", "ALGO",
)  # fmt: skip
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass
class Process:
    """One of the four."""

    name: str
    words: list[str]
    ready: Callable[[], bool]
    child: subprocess.Popen[bytes] | None = None
    #: Wall and CPU seconds until it was ready, and the largest resident memory, MiB.
    started: float = 0.0
    start_cpu: float = 0.0
    most: float = 0.0

    def tree(self) -> list[int]:
        """Its process and all below it."""
        assert self.child is not None
        found, below = [self.child.pid], [self.child.pid]
        while below:
            pid = below.pop()
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    below += map(int, (task / "children").read_text().split())
            found += [one for one in below if one not in found]
        return found

    def cpu(self) -> float:
        """CPU seconds so far, those of children that ended included."""
        total = 0
        for pid in self.tree():
            with suppress(OSError):
                total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return total / _TICKS

    def resident(self) -> float:
        total = 0
        for pid in self.tree():
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        self.most = max(self.most, total / 2**20)
        return total / 2**20


def market(folder: Path, count: int) -> Path:
    """A data directory of `count` pairs."""
    datadir = write_market(folder / "market", seed=5, days=26, pairs=[f"{name}/USDT:USDT" for name in MADE]) / "binance"
    for number, name in enumerate(NAMES[len(MADE) : count]):
        of = MADE[number % len(MADE)]
        for path in (datadir / "futures").glob(f"{of}_USDT_USDT-*"):
            shutil.copy(path, path.with_name(path.name.replace(of, name, 1)))
    return datadir


def answers(address: str) -> bool:
    """Whether a page answers, whatever it says."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def run(count: int, minutes: int, keep: Path | None = None) -> list[Table]:
    """One table. `keep`: a new folder for the processes' logs."""
    with tempfile.TemporaryDirectory(prefix="liqsignals-stack-") as made:
        folder = keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        progress(f"stack: a market of {count} pairs")
        full = market(folder, count)
        at = parse_time(START)
        own = as_of(full, at, folder / "user_data" / "data")
        pairs = sorted(one.pair for one in Archive(full).markets.values())
        config = json.loads((ROOT / "config.json").read_text())
        config["exchange"]["pair_whitelist"] = pairs
        port, page = free_port(), free_port()
        login = {name: secrets.token_hex(16) for name in ("username", "password", "jwt_secret_key")}
        config["api_server"] = {"enabled": True, "listen_ip_address": "127.0.0.1", "listen_port": port, **login}
        (folder / "config.json").write_text(json.dumps(config))
        clock = MarketClock(folder / "clock", at // 10**6, 1.0)
        with replayed(full, clock) as served:
            here = f"http://127.0.0.1:{served.port}"
            environment = {
                **os.environ, **clock.environment(), "FREQTRADE__API_SERVER__USERNAME": login["username"],
                "FREQTRADE__API_SERVER__PASSWORD": login["password"],
            }  # fmt: skip
            liqsignals = str(Path(sys.executable).with_name("liqsignals"))
            configs = ["--config", str(folder / "config.json"), "--config", str(served.overlay)]
            userdir, datadir = ["--userdir", str(folder / "user_data")], ["--datadir", str(own)]
            urls = [
                word for name in ("binance", "binance-archive", "coinmetrics") for word in ("--url", f"{name}={here}")
            ]
            strategy = ["--strategy", "RejectionFade"]
            path = ["--strategy-path", str(ROOT / "user_data" / "strategies")]
            stream = ["--exchanges", "binance", "--url", f"binance-stream=ws://127.0.0.1:{served.port}/market/ws"]
            raw = own / "liqsignals" / "raw"
            four = [
                Process(
                    "bot (with its download)",
                    [liqsignals, "start", *configs, *strategy, *userdir, *datadir, *urls, "--", *path],
                    lambda: "Bot heartbeat" in (folder / "bot.log").read_text(errors="replace"),
                ),
                Process(
                    "recorder",
                    [liqsignals, "record", *datadir, "--pairs", " ".join(pairs), *stream, *urls[:2], *urls[4:]],
                    lambda: any(raw.rglob("*.gz")),
                ),
                Process(
                    "page",
                    [liqsignals, "serve", *datadir, "--port", str(page), "--bot", f"http://127.0.0.1:{port}"],
                    lambda: answers(f"http://127.0.0.1:{page}/"),
                ),
                Process(
                    "watcher",
                    [liqsignals, "watch", *configs, *userdir, *datadir],
                    lambda: (folder / "user_data" / "liqsignals" / "status.json").exists(),
                ),
            ]
            try:
                return [_measured(four, folder, environment, minutes, count)]
            finally:
                for one in four:
                    if one.child is not None:
                        one.child.terminate()
                for one in four:
                    if one.child is not None:
                        with suppress(subprocess.TimeoutExpired):
                            one.child.wait(30.0)
                        one.child.kill()


def _measured(four: list[Process], folder: Path, environment: dict[str, str], minutes: int, count: int) -> Table:
    """One after the other, each until it is ready; then all four together."""
    for one in four:
        progress(f"stack: {one.name}")
        with (folder / f"{one.name.split()[0]}.log").open("wb") as log:
            begun = time.monotonic()
            one.child = subprocess.Popen(one.words, env=environment, stdout=log, stderr=log)
        while not one.ready():
            if one.child.poll() is not None:
                raise SystemExit(f"{one.name} ended with {one.child.returncode}; its log: {log.name}")
            one.resident()
            time.sleep(0.2)
        one.started, one.start_cpu = time.monotonic() - begun, one.cpu()
    progress(f"stack: all four for {minutes} minutes")
    before, begun = [one.cpu() for one in four], time.monotonic()
    while time.monotonic() - begun < minutes * 60:
        for one in four:
            assert one.child is not None
            assert one.child.poll() is None, f"{one.name} ended"
            one.resident()
        time.sleep(2.0)
    lasted = time.monotonic() - begun
    rows = [
        (one.name, one.started, one.start_cpu, one.resident(), one.most, 100 * (one.cpu() - cpu) / lasted)
        for one, cpu in zip(four, before, strict=True)
    ]
    rows.append(
        ("all four", sum(one.started for one in four), *[float(sum(row[n] for row in rows)) for n in range(2, 6)])
    )
    columns = ("", "start, s", "start, CPU s", "memory at the end, MiB", "at most, MiB", "CPU, % of a core")
    return show(Table(f"{count} pairs, {minutes} minutes", columns, rows, f"{os.cpu_count()} cores"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--minutes", type=int, default=15, help="whole candles: a multiple of 5")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.minutes < 5 or given.minutes % 5:
        parser.error("--minutes must be a multiple of 5")
    run(given.pairs, given.minutes, given.keep)
