"""`liqsignals download`: history that strategies need, from its sources into the data directory and its extras.

Steps, each of its own, in this order; a step that fails is reported and the others go on, but for a name that cannot be
resolved, which ends the run (without internet each step would try for minutes):

candles      freqtrade download-data: futures candles 5m and 1h, mark and funding
interest     open interest from Binance's archive into freqtrade's file, then freqtrade for the newest days
extras       taker volume and ratios: the archive, then REST for what is newer
venues       other venues (`--exchanges`): open interest, ratios, taker volume into the extras, funding where
             docs/decisions/009 says
flows        Coin Metrics' exchange flows, with their vintages
keyed        vendors whose key is in the environment
macro        how long the calendar reaches

Every file is replaced atomically; what is on disk depends on what the providers publish, not on how often the
command ran or was killed.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import pandas as pd

from liqsignals import files, records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, dates_ns, iso, to_dates
from liqsignals.collect import archive, freqtrade_files
from liqsignals.collect.fetch import Fetcher, FetchError, Offline, Refused, fetcher, key_of, redact
from liqsignals.data import coverage, flows, freqtrade, store
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import EXCHANGES, binance, coinalyze, coinglass, coinmetrics, cryptoquant, glassnode, macro
from liqsignals.sources.spec import ParseError, Provider, Series, linear_perpetual

logger = logging.getLogger(__name__)

STEPS = ("candles", "interest", "extras", "venues", "flows", "keyed", "macro")
KEYED = (coinglass.PROVIDER, coinalyze.PROVIDER, cryptoquant.PROVIDER, glassnode.PROVIDER)
FIVE = 5 * MINUTE

#: `show(what, done, of)`: progress.
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What to fetch. Times are ns; `stop` is None for "up to now"."""

    datadir: Path
    exchange: str
    pairs: tuple[str, ...]
    start: int
    stop: int | None = None
    extras: Path | None = None
    #: Other venues than the data directory's own.
    venues: tuple[str, ...] = ()
    steps: tuple[str, ...] = STEPS
    #: Other addresses of providers, by their name: mirrors, tests.
    urls: Mapping[str, str] = field(default_factory=dict)
    #: Freqtrade configurations, for example of a proxy.
    configs: tuple[Path, ...] = ()
    now: int = field(default_factory=time.time_ns)

    @property
    def extra(self) -> Path:
        return self.extras or self.datadir / "liqsignals"

    @property
    def end(self) -> int:
        return min(self.stop if self.stop is not None else self.now, self.now)


@dataclass(frozen=True)
class Coverage:
    """What the disk holds of one series within the plan's span."""

    series: str
    pair: str
    rows: int
    first: int | None
    last: int | None
    holes: tuple[coverage.Hole, ...]


@dataclass
class Report:
    """What a run did: coverage, remarks, and what it could not do."""

    coverage: list[Coverage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def download(plan: Plan, log: Callable[[str], None], show: Show = lambda what, done, of: None) -> Report:
    """Run a plan; sentences for the user go to `log` as they come up. Raises InputError where nothing can be done,
    and Offline at the first name that cannot be resolved."""
    _check(plan)
    report = Report()
    known, unknown = _known(plan)
    if plan.pairs and not known:
        raise InputError(f"nothing to download: {'; '.join(unknown)}")
    plan = replace(plan, pairs=known)
    run = _Run(plan, report, log, show)
    for text in unknown:
        run.problem(text)
    # Two downloads with different extras still write the same files of freqtrade's.
    written = {plan.extra.resolve()} | (
        {plan.datadir.resolve()} if {"candles", "interest"} & set(plan.steps) else set()
    )
    with ExitStack() as stack:
        for folder in sorted(written):
            stack.enter_context(store.writer(folder, "download"))
        files.sweep(plan.extra)
        for step in STEPS:
            if step in plan.steps:
                try:
                    _STEPS[step](run)
                except Offline:  # the other steps have no internet either
                    raise
                except InputError as error:
                    run.problem(str(error))
    return report


def _check(plan: Plan) -> None:
    venues.check_exchange(plan.exchange)
    unknown = sorted(set(plan.steps) - set(STEPS))
    if unknown:
        raise InputError(f"unknown step {', '.join(unknown)}; known are: {', '.join(STEPS)}")
    for venue in plan.venues:
        if venue not in EXCHANGES:
            raise InputError(f"--exchanges: '{venue}' is not known; known are: {', '.join(EXCHANGES)}")
    for pair in plan.pairs:
        freqtrade.check_pair(plan.datadir, pair)
    if plan.start >= plan.end:
        raise InputError(f"nothing to download: {iso(plan.start)} is not before {iso(plan.end)}")


def _known(plan: Plan) -> tuple[tuple[str, ...], list[str]]:
    """Pairs that the providers have under a name of their own, and what is wrong with the others."""
    known, unknown = [], []
    for pair in plan.pairs:
        try:
            linear_perpetual(pair, plan.exchange)
            known.append(pair)
        except InputError as error:
            unknown.append(f"{error}. Nothing is downloaded for it")
    return tuple(known), unknown


@dataclass
class _Run:
    plan: Plan
    report: Report
    log: Callable[[str], None]
    show: Show

    def problem(self, text: str) -> None:
        text = redact(text)
        if text not in self.report.problems:
            self.report.problems.append(text)
            self.log(text)

    def note(self, text: str) -> None:
        text = redact(text)
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.log(text)

    def cover(self, series: str, pair: str, at: Int64Array, period: int) -> None:
        """Add a coverage line; `at`: ends of the periods that have a row."""
        stop = self.plan.end // period * period
        opened = np.unique(at[(at > self.plan.start) & (at <= stop)]) - period
        first, last = (int(opened[0]), int(opened[-1] + period)) if len(opened) else (None, None)
        holes = tuple(
            hole
            for hole in coverage.holes(opened, period, self.plan.start // period * period, stop)
            # The newest rows of all are on their way.
            if self.plan.stop is not None or hole.stop < stop or hole.stop - hole.start > 2 * period
        )
        self.report.coverage.append(Coverage(series, pair, len(opened), first, last, holes))

    def fetch(self, provider: Provider, job: Callable[[Fetcher], Coroutine[Any, Any, None]]) -> None:
        """Run one asynchronous job with a Fetcher of the provider."""

        async def body() -> None:
            async with fetcher(provider, self.plan.urls.get(provider.name), log=self.note) as fetch:
                await job(fetch)

        asyncio.run(body())


# Candles and open interest


def _days(ns: int) -> str:
    return iso(ns)[:10].replace("-", "")


def _timerange(start: int, stop: int | None) -> str:
    return f"{_days(start)}-{_days(-(-stop // DAY) * DAY) if stop is not None else ''}"


def _freqtrade(run: _Run, kinds: Sequence[str], timeframes: Sequence[str], start: int, what: str) -> None:
    plan = run.plan
    _look_up(plan)
    run.show(f"freqtrade download-data: {what}", 0, 1)

    def go(start: int, stop: int | None, *, prepend: bool = False) -> None:
        for problem in freqtrade_files.download_data(
            plan.datadir,
            plan.exchange,
            plan.pairs,
            kinds,
            timeframes,
            _timerange(start, stop),
            plan.configs,
            prepend=prepend,
        ):
            run.problem(f"freqtrade: {problem}")

    firsts = [
        _first(plan.datadir, pair, timeframe, kind) for pair in plan.pairs for kind in kinds for timeframe in timeframes
    ]
    earliest = [at for at in firsts if at is not None]
    # Freqtrade adds only to the end of a file, unless asked.
    if "open_interest" not in kinds and earliest and max(earliest) >= start + DAY:
        go(start, max(earliest), prepend=True)
    go(start, plan.stop)
    run.show(f"freqtrade download-data: {what}", 1, 1)


def _look_up(plan: Plan) -> None:
    """Raise Offline where the exchange's name cannot be resolved: freqtrade would try for minutes.

    Not where a proxy resolves names, or a configuration or another address says where the exchange is.
    """
    provider = EXCHANGES.get(plan.exchange)
    if provider is None or plan.configs or provider.name in plan.urls or set(getproxies()) - {"no"}:
        return
    host = urlsplit(provider.base_url).hostname
    try:
        socket.getaddrinfo(host, 443)
    except socket.gaierror as error:
        raise Offline(
            f"{plan.exchange}: the name {host} cannot be resolved. Nothing was changed",
            "check the internet connection and run the same command again; behind a proxy, name a configuration with "
            "--config",
        ) from error


def _first(datadir: Path, pair: str, timeframe: str, kind: str) -> int | None:
    path = freqtrade.data_file(datadir, pair, timeframe, kind)
    if path is None:
        return None
    dates = dates_ns(freqtrade.read_table(path, ())["date"], str(path))
    return int(dates[0]) if len(dates) else None


def _candles(run: _Run) -> None:
    _freqtrade(run, ["futures"], ["5m", "1h"], run.plan.start, "candles")
    _freqtrade(run, ["mark", "funding_rate"], ["1h"], run.plan.start, "mark and funding")
    for pair in run.plan.pairs:
        bars = freqtrade.candles(run.plan.datadir, pair, "5m")
        if bars is None:
            run.problem(
                f"{pair}: freqtrade downloaded no candles. Is it listed at {run.plan.exchange}? "
                "It is written as BTC/USDT:USDT"
            )
        run.cover("candles 5m", pair, bars["event_time"] if bars is not None else np.empty(0, np.int64), FIVE)


def _interest(run: _Run) -> None:
    plan = run.plan
    if plan.exchange == "binance":
        for pair in plan.pairs:
            measured, ratios = _metrics(run, pair)
            if "extras" in plan.steps:
                store.append(store.series_dir(plan.extra, "ratio", "binance", pair, "5m"), ratios)
            if len(measured):
                freqtrade_files.merge_interest(plan.datadir, pair, measured, plan.exchange)
    # Binance answers 30 days, Bybit all of them.
    first = max(plan.start, plan.now - 29 * DAY) if plan.exchange == "binance" else plan.start
    if plan.stop is None or plan.stop > first:
        _freqtrade(run, ["open_interest"], ["5m"], first, "open interest")
    for pair in plan.pairs:
        path = freqtrade.data_file(plan.datadir, pair, "5m", "open_interest")
        at = np.empty(0, np.int64)
        if path is not None:
            bars = freqtrade.candles(plan.datadir, pair, "5m")
            known = bars if bars is not None else np.empty(0, records.BAR)
            frame = freqtrade.read_table(path, ("open_interest_amount",))
            at = freqtrade.open_interest(frame, "5m", known, FIVE, plan.exchange, str(path))[0]["event_time"]
        run.cover("open interest 5m", pair, at, FIVE)


# The archive


def _metrics(run: _Run, pair: str) -> tuple[Records, Records]:
    """Open interest and ratios of a pair from the archive's daily metrics, fetched where they are not here yet."""
    plan, symbol = run.plan, binance.symbol(pair)
    folder = plan.extra / "archive" / "metrics" / symbol
    # A file of end labels ends with the next day's 00:00, which is that day's first instant.
    files = archive.daily(f"metrics/{symbol}", symbol, "metrics", folder, plan.start - DAY, plan.end)
    there = _bring(run, files, f"{pair} metrics")
    interest, ratios = list[Records](), list[Records]()
    for file, raw in there:
        failed = ""
        for what, parse, found in (
            ("open interest", binance.parse_metrics, interest),
            ("ratios", binance.parse_metrics_ratios, ratios),
        ):
            try:
                found.append(parse(raw, plan.now, symbol))
            except ParseError as error:
                if str(error) != failed:
                    run.problem(
                        f"{file.local}: {error}. Its {what} of the day are left out: a hole unless another source has them"
                    )
                failed = str(error)
    return _joined(interest, records.OI_VALUE), _joined(ratios, records.RATIO)


def _joined(parts: list[Records], dtype: np.dtype[np.void]) -> Records:
    return store.unique(np.concatenate(parts)) if parts else np.empty(0, dtype)


def _bring(run: _Run, files: list[archive.File], what: str) -> list[tuple[archive.File, bytes]]:
    """Archive files that are there, with their bytes, after bringing them up to date."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        run.show(f"archive: {what}", done, len(files))

    outcomes: list[archive.Outcome] = []

    async def job(fetch: Fetcher) -> None:
        outcomes.extend(await archive.fetch(fetch, files, run.plan.now, step))

    run.fetch(binance.ARCHIVE, job)
    problems = [o.problem for o in outcomes if o.problem]
    for problem in problems[:5]:
        run.problem(str(problem))
    if len(problems) > 5:
        run.problem(f"archive: {what}: {len(problems) - 5} more files could not be had (first: {problems[5]})")
    absent = [o.file.local.name for o in outcomes if o.missing and o.file.stop > run.plan.start]
    if absent:
        run.note(f"archive: {what}: {len(absent)} days are not in the archive ({absent[0]} first)")
    changed = [o.file.local.name for o in outcomes if o.replaced]
    if changed:
        run.note(f"archive: {what}: Binance replaced {len(changed)} files ({changed[0]} first); the new ones are taken")
    return [(o.file, o.file.local.read_bytes()) for o in outcomes if o.there]


def _klines(run: _Run, pair: str) -> Records:
    """Taker volume of a pair from the archive's daily klines."""
    plan, symbol = run.plan, binance.symbol(pair)
    folder = plan.extra / "archive" / "klines" / symbol
    files = archive.daily(f"klines/{symbol}/5m", symbol, "5m", folder, plan.start, plan.end)
    parts = []
    for file, raw in _bring(run, files, f"{pair} klines"):
        try:
            parts.append(binance.parse_klines_archive(raw, plan.now, symbol))
        except ParseError as error:
            run.problem(f"{file.local}: {error}. It is left out; the day is a hole unless another source has it")
    return _joined(parts, records.TAKER)


def _extras(run: _Run) -> None:
    plan = run.plan
    if plan.exchange == "binance":
        for pair in plan.pairs:
            if "interest" not in plan.steps:  # that step has stored the ratios, they lie in the same files
                _, ratios = _metrics(run, pair)
                store.append(store.series_dir(plan.extra, "ratio", "binance", pair, "5m"), ratios)
            store.append(store.series_dir(plan.extra, "taker", "binance", pair, "5m"), _klines(run, pair))
    if plan.exchange in EXCHANGES:
        _rest(run, EXCHANGES[plan.exchange], ("ratio", "taker"))


# REST


def _venues(run: _Run) -> None:
    for venue in run.plan.venues:
        if venue != run.plan.exchange:
            _rest(run, EXCHANGES[venue], ("open_interest", "ratio", "taker", "funding"))


def _rest(run: _Run, provider: Provider, kinds: Iterable[str]) -> None:
    """Bring the extras of one provider up to date through its REST API: what the disk does not have yet."""
    venue = provider.name
    for kind in kinds:
        series = [s for s in provider.series if s.kind == kind and s.ask]
        for pair in run.plan.pairs if series else ():
            folder = store.series_dir(run.plan.extra, kind, venue, pair, store.period_name(series[0].period_ns))
            period = series[0].period_ns or 8 * HOUR

            async def job(
                fetch: Fetcher, series: list[Series] = series, pair: str = pair, kind: str = kind, folder: Path = folder
            ) -> None:
                rows = store.read(folder, records.STORED[kind], run.plan.start, run.plan.end + 1)
                for one in series:
                    # Each ratio has an endpoint of its own (ratio_account): one may be on disk where another is not.
                    column = one.name.partition("_")[2]
                    have = rows[np.isfinite(rows[column])] if column in (rows.dtype.names or ()) else rows
                    await _pages(run, fetch, one, pair, kind, folder, have["event_time"])

            try:
                run.fetch(provider, job)
            except Offline:
                raise
            except InputError as error:
                run.problem(str(error))
            rows = store.read(folder, records.STORED[kind], run.plan.start, run.plan.end + 1)
            if kind == "funding":
                _write_funding(run, venue, pair, rows)
            run.cover(f"{venue} {kind}", pair, rows["event_time"], period)


async def _pages(
    run: _Run, fetch: Fetcher, series: Series, pair: str, kind: str, folder: Path, have: Int64Array
) -> None:
    """Fetch the pages of one series that the disk lacks; each is stored as it comes."""
    assert series.ask is not None
    plan, period = run.plan, series.period_ns or MINUTE
    start = plan.start if series.reach_ns is None else max(plan.start, plan.now - series.reach_ns)
    stop = plan.end // period * period
    spans = [(at, min(at + series.page_ns, stop)) for at in range(start // period * period, stop, series.page_ns)]
    if series.period_ns:
        wanted = [(a, b) for a, b in spans if np.count_nonzero((have > a) & (have <= b)) < (b - a) // period]
    else:
        wanted = [(a, b) for a, b in spans if b >= stop or not ((have > a) & (have <= b)).any()]
    done, parts = 0, []

    async def page(a: int, b: int) -> None:
        nonlocal done
        assert series.ask is not None
        try:
            path, params = series.ask(pair, a, b)
            headers, more = _key(fetch.provider)
            reply = await fetch.get(path, params | more, headers=headers)
            rows: Records = series.parser(a)(reply.body, min(reply.asked_at, plan.now))
            inside = rows[(rows["event_time"] > a) & (rows["event_time"] <= b)]
            if (
                len(rows)
                and not len(inside)
                and not ((rows["event_time"] > a - 2 * DAY) & (rows["event_time"] <= b + DAY)).any()
            ):
                raise FetchError(
                    f"{fetch.provider.name} {series.name}: asked for {iso(a)} to {iso(b)}, it sent rows of "
                    f"{iso(rows['event_time'][0])} to {iso(rows['event_time'][-1])} (the same page again?); not taken"
                )
            parts.append(inside)
        except Offline:
            raise
        except FetchError as error:  # it names the provider
            run.problem(f"{pair}: {error}")
        except InputError as error:
            run.problem(f"{pair}: {fetch.provider.name} {series.name}: {error}")
        done += 1
        run.show(f"{fetch.provider.name}: {pair} {series.name}", done, len(wanted))

    for first in range(0, len(wanted), 64):
        parts.clear()
        await asyncio.gather(*[page(a, b) for a, b in wanted[first : first + 64]])
        if parts:
            store.append(folder, np.concatenate(parts))


def _key(provider: Provider) -> tuple[dict[str, str], dict[str, str | int]]:
    """Headers and query parameters that carry the user's key."""
    key = key_of(provider)
    headers = {provider.key_header: provider.key_prefix + key} if key and provider.key_header else {}
    return headers, {provider.key_param: key} if key and provider.key_param else {}


def _write_funding(run: _Run, venue: str, pair: str, rows: Records) -> None:
    """Another venue's settled rates in freqtrade's own format, where features look (docs/decisions/009)."""
    if not len(rows):
        return
    folder = run.plan.extra / "venues" / venue
    path = folder / "futures" / files.data_name(pair, "1h", "funding_rate")
    frame = pd.DataFrame({"date": to_dates(rows["event_time"]), "funding_rate": rows["rate"]})
    if path.exists():
        old = freqtrade.read_table(path, ("funding_rate",))[["date", "funding_rate"]]
        frame = pd.concat([old, frame]).drop_duplicates("date", keep="last").sort_values("date", ignore_index=True)
        if len(frame) == len(old) and frame["funding_rate"].equals(old["funding_rate"]):
            return
    with files.replaced(path) as temporary:
        frame.to_feather(temporary)


# Flows, keyed vendors, the calendar


def _flows(run: _Run) -> None:
    """Coin Metrics' flows of the pairs' coins: the user's file is the newest vintage, every vintage is kept."""
    plan, provider = run.plan, coinmetrics.PROVIDER
    run.note(f"flows: {provider.licence}")
    coins = dict.fromkeys(pair.split("/")[0].lower() for pair in plan.pairs)
    for coin in coins:
        try:
            target = flows.flow_file(plan.extra, f"{coin.upper()}/") or (
                plan.extra / "flows" / f"coinmetrics-{coin}-exchange-flows-1d.csv"
            )
            start = plan.start // DAY * DAY - 100 * DAY  # a z-score looks back 90 days
            if target.exists() and len(have := flows.read_flows(target)):
                start = min(start, int(have["event_time"][0]) - DAY)
            pages: list[bytes] = []

            async def job(fetch: Fetcher, coin: str = coin, start: int = start, pages: list[bytes] = pages) -> None:
                token = None
                while True:
                    reply = await fetch.get(coinmetrics.PATH, coinmetrics.parameters(coin, start, token))
                    coinmetrics.parse_flows(reply.body, reply.asked_at)
                    if reply.body in pages:
                        raise FetchError(f"coinmetrics: {coin}: the same page came twice; nothing was changed")
                    pages.append(reply.body)
                    token = coinmetrics.token_of(reply.body)
                    if token is None:
                        return

            run.fetch(provider, job)
            _store_vintage(run, coin, target, coinmetrics.csv_of(pages))
        except Offline:
            raise
        except Refused as error:
            run.note(f"flows: Coin Metrics' free data have none for {coin.upper()}; flow_* columns stay NaN ({error})")
            continue
        except InputError as error:
            run.problem(str(error))
            continue
        ends = flows.read_flows(target)["event_time"]
        run.cover("flows 1d", coin.upper(), ends, DAY)


def _store_vintage(run: _Run, coin: str, target: Path, content: bytes) -> None:
    """Replace the flows file; what it held before and what it holds now lie in `flows/vintages/<coin>/`."""
    if target.exists() and target.read_bytes() == content:
        return
    kept = run.plan.extra / "flows" / "vintages" / coin
    old = flows.read_flows(target) if target.exists() else np.empty(0, records.FLOW)
    with files.replaced(kept / f"{iso(run.plan.now)[:10]}.csv") as vintage:
        vintage.write_bytes(content)
        lost = np.setdiff1d(old["event_time"], flows.read_flows(vintage)["event_time"])
        if len(lost):
            raise FetchError(
                f"{target}: Coin Metrics sends {len(lost)} days less than it holds (first "
                f"{iso(lost[0] - DAY)[:10]}); it was left as it is",
                "delete it if you want the new vintage",
            )
        if target.exists() and not any(target.read_bytes() == p.read_bytes() for p in kept.glob("*.csv")):
            with files.replaced(kept / f"before-{iso(run.plan.now)[:10]}.csv") as temporary:
                temporary.write_bytes(target.read_bytes())
    with files.replaced(target) as temporary:
        temporary.write_bytes(content)


def _keyed(run: _Run) -> None:
    """Vendors whose key the environment has: hourly liquidations, flows and open interest by venue into the extras."""
    without = [f"{p.name} ({p.key_env})" for p in KEYED if not os.environ.get(p.key_env or "")]
    if without:
        run.note(f"keyed: no key for {', '.join(without)}; left out")
    for provider in KEYED:
        if os.environ.get(provider.key_env or ""):
            run.note(f"{provider.name}: {provider.licence}")
            _rest(run, provider, dict.fromkeys(s.kind for s in provider.series if s.kind != "venue_interest"))
            for series in provider.series:
                if series.kind == "venue_interest":
                    _by_venue(run, provider, series)


def _by_venue(run: _Run, provider: Provider, series: Series) -> None:
    """Open interest by venue: one answer a pair, whose rows belong to a series of each venue in the extras.

    A row on disk stays as it is: a vendor revises its history, and a bot used what was known.
    """
    for pair in run.plan.pairs:
        found: dict[str, Records] = {}

        async def job(fetch: Fetcher, pair: str = pair, found: dict[str, Records] = found) -> None:
            assert series.ask is not None
            path, params = series.ask(pair, run.plan.start, run.plan.end)
            headers, more = _key(provider)
            reply = await fetch.get(path, params | more, headers=headers)
            found |= series.parser(run.plan.end)(reply.body, min(reply.asked_at, run.plan.now))

        try:
            run.fetch(provider, job)
        except Offline:
            raise
        except FetchError as error:  # it names the provider
            run.problem(f"{pair}: {error}")
            continue
        except InputError as error:
            run.problem(f"{pair}: {provider.name} {series.name}: {error}")
            continue
        spans: dict[str, Int64Array] = {}
        for venue, rows in found.items():
            rows = rows[(rows["event_time"] > run.plan.start) & (rows["event_time"] <= run.plan.end)]
            period = store.period_name(series.period_ns)
            folder = store.series_dir(run.plan.extra, series.kind, venue, pair, period)
            have = store.read(folder, rows.dtype)["event_time"]
            new = rows[~np.isin(rows["event_time"], have)]
            if len(new):
                store.append(folder, new)
            if len(rows):
                spans[venue] = rows["event_time"]
        run.note(f"{provider.name}: {pair}, open interest of {len(spans)} venues: {', '.join(sorted(spans)) or 'none'}")
        every = np.concatenate([*spans.values(), np.empty(0, np.int64)])
        run.cover(f"{provider.name} {series.kind}", pair, every, series.period_ns)


def _macro(run: _Run) -> None:
    for warning in macro.ends_soon(macro.calendar(), run.plan.now):
        run.note(warning)


_STEPS: dict[str, Callable[[_Run], None]] = {
    "candles": _candles,
    "interest": _interest,
    "extras": _extras,
    "venues": _venues,
    "flows": _flows,
    "keyed": _keyed,
    "macro": _macro,
}
