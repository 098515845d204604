"""Made-up markets in freqtrade's format, as records and as a data directory, and the comparison of bits."""

import fcntl
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings

from liqsignals import records
from liqsignals.clock import DAY, HOUR, MINUTE, duration_ns, parse_time, to_dates
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.liqmap import book, clusters, fold, kernels
from liqsignals.liqmap.parameters import LeverageClass, Parameters
from liqsignals.replay.clock import faketime_library
from liqsignals.simulation.market import write_market

# Under nohup, or in the background of a script, these are ignored, and every command that a test starts and signals would
# inherit that. A handler it does not inherit.
for _number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=15,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# `make properties`: draws of a random seed, many times as many.
settings.register_profile("many", settings.get_profile("ci"), derandomize=False, max_examples=300)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=6)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

PAIR = "BTC/USDT:USDT"
STEM = "BTC_USDT_USDT"
START = parse_time("2026-01-05T00:00:00Z")
FIVE = 5 * MINUTE
#: Two narrow bands near the price: swept often, and quick where the kernels run uncompiled.
NARROW = Parameters((LeverageClass(60, 70, 0.6, 20_000), LeverageClass(100, 120, 0.4, 20_000)))

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("LIQSIGNALS_DATA", ROOT.parent / "shared" / "data"))
needs_real_data = pytest.mark.skipif(
    not (REAL / "binance" / "futures").is_dir(), reason=f"no real data in {REAL} (set LIQSIGNALS_DATA)"
)


def _faketime() -> str:
    """Why no bot can be driven here, empty where one can."""
    try:
        faketime_library()
    except InputError as error:
        return str(error)
    return ""


needs_faketime = pytest.mark.skipif(bool(_faketime()), reason=_faketime())


@dataclass(frozen=True)
class Market:
    """Frames of one market. `interest` is dated by the snapshots' instants, whatever a file would call them."""

    candles: pd.DataFrame
    interest: pd.DataFrame
    funding: pd.DataFrame
    flows: pd.DataFrame

    @property
    def first(self) -> pd.Timestamp:
        return self.candles["date"].iloc[0]

    def upto(self, time: pd.Timestamp) -> "Market":
        """The market as a disk holds it that was filled at `time`: candles closed, snapshots taken."""
        return replace(
            self,
            candles=self.candles[self.candles["date"] + pd.Timedelta("5min") <= time],
            interest=self.interest[self.interest["date"] <= time],
            funding=self.funding[self.funding["date"] <= time],
        )


def make_market(
    days: float = 2.0,
    seed: int = 0,
    *,
    volatility: float = 0.002,
    price: float = 60_000.0,
    funding_h: int = 8,
    funding_days: int = 15,
    flow_days: int = 45,
) -> Market:
    """A random walk in 5m candles whose open interest changes when there is trading."""
    rng = np.random.default_rng(seed)
    n = round(days * DAY / FIVE)
    close = price * np.exp(np.cumsum(rng.normal(0, volatility, n)))
    opened = np.r_[price, close[:-1]]
    volume = rng.lognormal(4, 1, n)
    candles = pd.DataFrame(
        {
            "date": to_dates(START + FIVE * np.arange(n)),
            "open": opened,
            "high": np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, volatility / 2, n))),
            "low": np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, volatility / 2, n))),
            "close": close,
            "volume": volume,
        }
    )
    base = 20_000 + np.cumsum(0.3 * volume * rng.uniform(0.7, 1.3, n) * rng.choice([-1.0, 1.0], n))
    base = np.maximum(base, 2_000 + rng.uniform(0, 500, n))
    interest = pd.DataFrame(
        {
            "date": to_dates(START + FIVE * np.arange(1, n + 1)),
            "open_interest_amount": base,
            "open_interest_value": base * close,
        }
    )
    settled = np.arange(START - funding_days * DAY, START + n * FIVE + 1, funding_h * HOUR)
    funding = pd.DataFrame({"date": to_dates(settled), "funding_rate": rng.normal(1e-4, 2e-4, len(settled))})
    first = START // DAY * DAY - flow_days * DAY
    day = np.arange(first, START + n * FIVE, DAY)
    flows = pd.DataFrame(
        {
            "time": to_dates(day).strftime("%Y-%m-%d"),
            "FlowInExNtv": rng.lognormal(9, 0.3, len(day)),
            "FlowOutExNtv": rng.lognormal(9, 0.3, len(day)),
            "SplyExNtv": 2.5e6 + np.cumsum(rng.normal(0, 1000, len(day))),
        }
    )
    return Market(candles, interest, funding, flows)


def uncompiled(monkeypatch: pytest.MonkeyPatch, line: str = "", other: str = "") -> ModuleType:
    """A copy of the kernels as plain Python functions, put in the library's place, `line` changed to `other`.

    Returns the copy of kernels/fold.py.
    """
    folder = Path(kernels.__file__).parent
    sources = {
        name: (folder / f"{name}.py").read_text()
        for name in ("shared", "read", "cascade", "kyle", "volatility", "fold", "__init__")
    }
    assert sum(source.count(line) for source in sources.values()) == 1 or not line
    modules = {}
    with monkeypatch.context() as patch:
        patch.setattr(numba, "njit", lambda **options: lambda function: function)
        for name, source in sources.items():
            own = "uncompiled_kernels" if name == "__init__" else f"uncompiled_kernels.{name}"
            module = modules[name] = ModuleType(own)
            module.__file__ = str(folder / f"{name}.py")
            patch.setitem(sys.modules, own, module)
            text = source.replace("liqsignals.liqmap.kernels", "uncompiled_kernels")
            text = text.replace(line, other) if line else text
            # numpy's unsigned scalars refuse a step downwards; compiled ones wrap.
            exec(compile(text.replace("np.uintp(", "int("), own, "exec"), module.__dict__)
    for user in (book, clusters, fold):
        monkeypatch.setattr(user, "kernels", modules["__init__"])
    return modules["fold"]


def ns(dates: Any) -> np.ndarray:
    return pd.DatetimeIndex(dates).as_unit("ns").astype("int64").to_numpy()


def thinned(interest: pd.DataFrame, period: str) -> pd.DataFrame:
    """The snapshots that a coarser file would hold."""
    return interest[ns(interest["date"]) % duration_ns(period) == 0]


def as_tape(market: Market, period: str = "5m", pair: str = PAIR) -> MapTape:
    """The market's records, stamped by hand after the rules of records.py: no reader takes part."""
    c, oi = market.candles, thinned(market.interest, period)
    closed, snapshot = ns(c["date"]) + FIVE, ns(oi["date"])
    settled, ended = ns(market.funding["date"]), ns(pd.to_datetime(market.flows["time"], utc=True)) + DAY
    interval = (settled[1] - settled[0]) / HOUR if len(settled) > 1 else 8.0
    return MapTape(
        pair,
        FIVE,
        duration_ns(period),
        records.records(records.BAR, closed, closed, **{n: c[n] for n in ("open", "high", "low", "close", "volume")}),
        records.records(
            records.OPEN_INTEREST, snapshot, snapshot + 2 * duration_ns(period), base=oi["open_interest_amount"]
        ),
        {
            "binance": records.records(
                records.FUNDING,
                settled[1:],
                settled[1:] + MINUTE,
                rate=market.funding["funding_rate"].iloc[1:],
                interval_h=interval,
            )
        },
        records.records(
            records.FLOW,
            ended,
            ended + 4 * HOUR,
            inflow=market.flows["FlowInExNtv"],
            outflow=market.flows["FlowOutExNtv"],
            supply=market.flows["SplyExNtv"],
        ),
    )


def labelled(interest: pd.DataFrame, period: str = "5m", flip: pd.Timestamp | None = None) -> pd.DataFrame:
    """Snapshots as a file names them: by the end of their period before `flip`, by its start from then on.

    The flip leaves two rows at its 00:00, as Binance's archive does: the old convention's last, the new one's first.
    `flip=None` is end labels throughout; a flip before the first row is start labels throughout.
    """
    if flip is None:
        return interest.reset_index(drop=True)
    late = interest["date"] > flip
    new = interest[late].assign(date=interest.loc[late, "date"] - pd.Timedelta(duration_ns(period)))
    new["date"] = new["date"].astype(interest["date"].dtype)
    return pd.concat([interest[~late], new], ignore_index=True)


START_LABELS = pd.Timestamp("2020-01-01", tz="UTC")


def write_datadir(
    root: Path,
    market: Market,
    *,
    period: str = "5m",
    flip: pd.Timestamp | None = None,
    name: str = "binance",
    stem: str = STEM,
    flows: bool = True,
    funding: bool = True,
    interest: bool = True,
) -> Path:
    """A freqtrade data directory of the market; written again, it replaces what stood there."""
    datadir = root / name
    (datadir / "futures").mkdir(parents=True, exist_ok=True)
    write(datadir, "5m-futures", market.candles, stem)
    if interest:
        write(datadir, f"{period}-open_interest", labelled(thinned(market.interest, period), period, flip), stem)
    if funding:
        write(datadir, "1h-funding_rate", market.funding, stem)
    if flows:
        folder = datadir / "liqsignals" / "flows"
        folder.mkdir(parents=True, exist_ok=True)
        market.flows.to_csv(folder / f"coinmetrics-{stem.split('_')[0].lower()}-exchange-flows-1d.csv", index=False)
    return datadir


def write(datadir: Path, what: str, frame: pd.DataFrame, stem: str = STEM) -> Path:
    path = datadir / "futures" / f"{stem}-{what}.feather"
    frame.reset_index(drop=True).to_feather(path)
    return path


def resampled(candles: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """The candles of a coarser timeframe, complete ones only."""
    length = duration_ns(timeframe)
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    group = ns(candles["date"]) // length * length
    out = candles.groupby(group).agg(rule)
    whole = candles.groupby(group).size().to_numpy() == length // FIVE
    out.insert(0, "date", to_dates(out.index.to_numpy()))
    return out[whole].reset_index(drop=True)


def decisions(candles: pd.DataFrame, timeframe: str = "5m") -> tuple[np.ndarray, np.ndarray]:
    return ns(candles["date"]) + duration_ns(timeframe), candles["close"].to_numpy(np.float64)


class FakeProvider:
    """What a strategy's DataProvider answers: the frames given, an empty one for anything else."""

    def __init__(self, frames: dict[tuple[str, str], pd.DataFrame], runmode: str = "dry_run") -> None:
        self.frames = {key: frame.reset_index(drop=True) for key, frame in frames.items()}
        self.runmode = runmode
        self.asked: list[tuple[str, str, str]] = []

    def get_pair_dataframe(self, pair: str, timeframe: str, candle_type: str = "") -> pd.DataFrame:
        return self.ohlcv(pair, timeframe, candle_type=candle_type)

    def ohlcv(self, pair: str, timeframe: str, copy: bool = True, candle_type: str = "") -> pd.DataFrame:
        self.asked.append((pair, timeframe, candle_type))
        frame = self.frames.get((timeframe, candle_type))
        return pd.DataFrame() if frame is None else frame.copy() if copy else frame


def assert_same_bits(one: Any, other: Any, rows: Any = slice(None), names: Any = None) -> None:
    """Every column holds the same bits, NaN where NaN (law 4: array_equal, no tolerance)."""
    from liqsignals.features import NAMES

    for name in names or NAMES:
        a, b = np.asarray(one[name])[rows], np.asarray(other[name])[rows]
        if not np.array_equal(a, b, equal_nan=True):
            differs = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))) if a.shape == b.shape else []
            raise AssertionError(f"{name}: {a.shape} and {b.shape}, rows {differs[:5]} of {len(differs)} differ")


#: The SIMULATED market of the session: what it has of trades is in test_freqtrade.py and test_parity.py.
ETH = "ETH/USDT:USDT"
DAYS = 45


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directory of a SIMULATED market, with a second venue's rate at every candle in the extras.

    The workers of pytest-xdist share it: the first one writes it.
    """
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "session-market"
    with out.with_suffix(".lock").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        if not out.exists():
            _with_second_venue(write_market(out.with_suffix(".part"), seed=3, days=DAYS, pairs=[ETH])).rename(out)
    return out / "binance"


def _with_second_venue(out: Path) -> Path:
    datadir = out / "binance"
    candles = pd.read_feather(datadir / "futures" / "ETH_USDT_USDT-5m-futures.feather").date
    # Two rows 8 h apart define the interval of all that follow.
    dates = pd.concat([candles.iloc[:1] - pd.Timedelta("8h"), candles], ignore_index=True)
    rate = 1e-4 + 1e-4 * np.abs(np.random.default_rng(5).normal(size=len(dates)))
    folder = datadir / "liqsignals" / "venues" / "bybit" / "futures"
    pd.DataFrame({"date": dates, "funding_rate": rate}).to_feather(folder / "ETH_USDT_USDT-1h-funding_rate.feather")
    return out


@pytest.fixture(autouse=True)
def _in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candles count as received at their close, whatever the dates of a test's market."""
    monkeypatch.setattr("liqsignals.strategy.signals.doubted_by_clock", lambda at: 0)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of a read do not wait."""
    monkeypatch.setattr("liqsignals.files.pause", lambda seconds: None)
