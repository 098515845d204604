"""Broken inputs for every parser of liqsignals.sources: `make fuzz` (a million); a small run is part of `make test`.

Valid payloads (shapes of research/sources.md, numbers made up) are broken in one to four places: bytes flipped, cut,
copied; JSON values replaced by what no vendor should send; rows dropped, repeated, swapped; text inside a zip, or the
zip itself. A parser may give records or raise ParseError. What it gives must obey law 1, be in order, and hold no
infinite number.
"""

import io
import json
import random
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import feed
import numpy as np
import vendor_seeds

from liqsignals.clock import DAY, parse_time
from liqsignals.sources import PROVIDERS, ParseError, coinmetrics

NOW = parse_time("2026-11-20T12:00:00Z")
MS = NOW // 10**6 // 300_000 * 300_000
WEIRD: list[Any] = [
    None, True, False, "", " ", "null", "NaN", "nan", "Infinity", "-inf", "1e999", "0", "-0.0", "-1", "1", "0x10", "1_000", "١٢",
    0, -1, 1, 0.5, 1e308, -1e-320, 10**9, 10**12, 10**15, 10**18, 10**25, 10**400, 2**63, -(2**63), float("nan"), float("inf"), [], {}, [[]],
    [None], {"a": 1}, "2025-13-40 99:99:99", "2025-07-01 00:05:00", "9" * 400, "é", "\ud800", "\x00", ",", "\n", MS, str(MS), MS * 1000,
    "Buy", "Sell", "buy", "sell", "BTCUSDT", "long", "net",
]  # fmt: skip


def zipped(text: str, name: str = "file.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _klines(n: int = 4) -> list[list[Any]]:
    return [
        [MS - (n - k) * 300_000, "1", "3", "0.5", "2", "10", MS - (n - k) * 300_000 + 299_999, "20", 7, "4", "8", "0"]
        for k in range(n)
    ]


def _metrics(start: bool = False) -> bytes:
    first = parse_time("2026-02-03T00:00:00Z" if not start else "2026-07-03T00:00:00Z") // 10**9
    lines = [
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
    ]
    for k in range(12):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(first + 300 * (k + (not start))))
        lines.append(f"{at},BTCUSDT,{80000 + k}.5,{8e9 + k},1.5,2.5,1.25,0.9")
    return zipped("\n".join(lines) + "\n")


def _hist(**fields: str) -> bytes:
    return _json([{"symbol": "BTCUSDT", **fields, "timestamp": MS - k * 300_000} for k in range(4, 1, -1)])


def _okx(*row: str) -> bytes:
    return _json({"code": "0", "msg": "", "data": [[str(MS - k * 300_000), *row] for k in range(1, 5)]})


def _bybit(time_key: str, step: int = 300_000, **fields: str) -> bytes:
    rows = [{"symbol": "BTCUSDT", **fields, time_key: str(MS // 28_800_000 * 28_800_000 - k * step)} for k in range(5)]
    return _json({"retCode": 0, "retMsg": "OK", "result": {"symbol": "BTCUSDT", "list": rows, "nextPageCursor": ""}})


def _funding(**fields: str) -> bytes:
    eight = 28_800_000
    return _json([
        {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingTime": MS // eight * eight - k * eight + 3, "markPrice": "", **fields}
        for k in range(4, 0, -1)
    ])  # fmt: skip


#: A print of Binance in the envelope of a combined stream.
ENVELOPE = '{"stream":"!forceOrder@arr","data":%s}'
#: Coins of one contract, for the prints that count contracts.
CONTRACTS = {"BTC-USDT-SWAP": 0.01}
#: Valid payloads by provider and series or stream (its name, or its kind).
SEEDS: dict[tuple[str, str], list[bytes]] = {
    ("binance", "open_interest"): [_hist(sumOpenInterest="80000.5", sumOpenInterestValue="8e9", CMCCirculatingSupply="2e7")],
    ("binance", "ratio"): [_hist(longShortRatio="1.5", longAccount="0.6", shortAccount="0.4", buySellRatio="1.1", buyVol="3", sellVol="2")],
    ("binance", "taker"): [_json(_klines())],
    ("binance", "funding"): [_funding(), _funding(rateType="Regular"), _funding(rateType="Special")],
    ("binance-archive", "open_interest"): [_metrics(), _metrics(True)],
    ("binance-archive", "ratio"): [_metrics(), _metrics(True)],
    ("binance-archive", "taker"): [zipped("\n".join(",".join(map(str, row)) for row in _klines()) + "\n")],
    ("binance-archive", "funding"): [
        zipped("calc_time,funding_interval_hours,last_funding_rate\n1780272000001,8,0.00005703\n1780300800000,8,-0.0001\n")
    ],
    ("bybit", "open_interest"): [_bybit("timestamp", openInterest="461.5", singleOpenInterest="230.75"), _bybit("timestamp", openInterest="4")],
    ("bybit", "ratio"): [_bybit("timestamp", buyRatio="0.49", sellRatio="0.51")],
    ("bybit", "funding"): [_bybit("fundingRateTimestamp", 28_800_000, fundingRate="0.0001")],
    ("okx", "open_interest"): [_okx("2800476.45", "28006.5", "2360916466.88")],
    ("okx", "taker"): [_okx("11", "12")],
    ("okx", "ratio"): [_okx("1.25")],
    ("okx", "funding"): [
        _json({"code": "0", "data": [
            {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "realizedRate": "0.0001", "fundingTime": str(MS // 28_800_000 * 28_800_000 - k * 28_800_000)}
            for k in range(4)
        ]})
    ],
    ("binance", "bar"): [_json(_klines())],
    ("bybit", "bar"): [_json({"retCode": 0, "result": {"list": [[str(row[0]), *row[1:6], "20"] for row in _klines()]}})],
    ("binance", "predicted"): [_json({"symbol": "BTCUSDT", "lastFundingRate": "0.0001", "nextFundingTime": MS + 10**7, "time": MS})],
    ("bybit", "predicted"): [
        _json({"retCode": 0, "time": MS, "result": {"list": [{"fundingRate": "0.0001", "nextFundingTime": str(MS + 10**7)}]}})
    ],
    ("okx", "predicted"): [_json({"code": "0", "data": [{"fundingRate": "0.0001", "fundingTime": str(MS + 10**7), "ts": str(MS)}]})],
    ("okx", "contracts"): [
        _json({"code": "0", "data": [{"instId": "BTC-USDT-SWAP", "ctType": "linear", "ctVal": "0.01", "ctMult": "1"}]})
    ],
    ("binance", "liquidation"): [feed.binance(MS).encode(), (ENVELOPE % feed.binance(MS)).encode()],
    ("bybit", "liquidation"): [feed.bybit(MS, "Buy", "Sell").encode()],
    ("okx", "liquidation"): [feed.okx(MS, "buy", "sell").encode()],
}  # fmt: skip


#: Flows, keyed vendors, the calendar.
SEEDS |= vendor_seeds.SEEDS


def _csv_of(raw: bytes, received_at: int) -> dict[str, float]:
    return {"bytes": float(len(coinmetrics.csv_of([raw])))}


def _token_of(raw: bytes, received_at: int) -> dict[str, float]:
    return {"bytes": 1.0 + len(coinmetrics.token_of(raw) or "")}


def _seeds(provider: str, name: str, kind: str) -> list[bytes]:
    return SEEDS[provider, name] if (provider, name) in SEEDS else SEEDS[provider, kind]


def _targets() -> dict[str, tuple[Callable[[bytes, int], Any], list[bytes]]]:
    """Every parser with its valid payloads. Raises KeyError for a series that has none: a new parser needs a seed."""
    out: dict[str, tuple[Callable[[bytes, int], Any], list[bytes]]] = {}
    for provider in PROVIDERS:
        for stream in provider.streams:
            parse = partial(stream.parse, contracts=CONTRACTS) if stream.contracts else stream.parse
            out[f"{provider.name} {stream.channel}"] = (parse, _seeds(provider.name, stream.channel, stream.kind))
        for series in provider.series:
            seeds = _seeds(provider.name, series.name, series.kind)
            for n, (_, parse) in enumerate(series.parsers):
                out[f"{provider.name} {series.name} {n}"] = (parse, seeds)
    out["coinmetrics csv"] = (_csv_of, SEEDS["coinmetrics", "flow"])
    out["coinmetrics token"] = (_token_of, SEEDS["coinmetrics", "flow"])
    return out


def _break_bytes(rng: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    at = rng.randrange(len(data) + 1)
    end = min(at + rng.choice((1, 1, 2, 8, 64)), len(data))
    match rng.randrange(6):
        case 0:
            data[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = data[rng.randrange(len(data) + 1) :][:64]
        case 3:
            del data[at:]
        case 4:
            data[at:at] = rng.choice(
                (b"null", b'"', b"[", b"}", b"\n", b",", b"-", b"9" * 30, b"\xff", b"e9", b"<html>")
            )
        case _:
            data[at:end] = rng.choice((b"0", b"-1", b"1e400", b'""', b"NaN", b"\x00"))
    return bytes(data)


def _break_json(rng: random.Random, value: Any) -> Any:
    """One node of a JSON value replaced, dropped, repeated or moved."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _break_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case 2:
                return value[::-1]
            case _:
                return [*value[:at], _break_json(rng, value[at]), *value[at + 1 :]]
    return rng.choice(WEIRD)


def broken(rng: random.Random, seed: bytes) -> bytes:
    """A seed, broken."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        if seed[:2] == b"PK" and rng.random() < 0.7:
            try:
                with zipfile.ZipFile(io.BytesIO(seed)) as archive:
                    text = archive.read(archive.namelist()[0])
            except Exception:
                return _break_bytes(rng, seed)
            if rng.random() < 0.6:
                lines = [line.split(b",") for line in text.split(b"\n")]
                row = rng.choice(lines)
                row[rng.randrange(len(row))] = str(rng.choice(WEIRD)).encode("utf-8", "replace")
                text = b"\n".join(b",".join(line) for line in lines)
            else:
                text = _break_bytes(rng, text)
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("file.csv", text)
            seed = packed.getvalue()
        elif rng.random() < 0.65:
            try:
                seed = json.dumps(_break_json(rng, json.loads(seed))).encode()
            except Exception:
                seed = _break_bytes(rng, seed)
        else:
            seed = _break_bytes(rng, seed)
    return seed


def obeys(found: Any) -> None:
    """What a parser gives obeys law 1, is in order, and holds no infinite number."""
    for rows in found.values() if isinstance(found, dict) else [found]:
        if isinstance(rows, float):
            assert np.isfinite(rows)
            assert rows > 0
            continue
        assert (rows["known_at"] >= rows["event_time"]).all(), "law 1"
        assert (np.diff(rows["known_at"]) >= 0).all(), "not in tape order"
        for name in rows.dtype.names or ():
            assert not np.isinf(rows[name].astype(float)).any(), f"{name} is infinite"


def fuzz(inputs: int, seed: int, tell: Callable[[str], None] = lambda text: None) -> Counter[str]:
    """Run `inputs` broken inputs over all parsers in turn. Raises AssertionError naming parser and input; returns
    counts.
    """
    rng = random.Random(seed)
    targets = _targets()
    counts: Counter[str] = Counter()
    names = list(targets)
    for _, (parse, seeds) in targets.items():
        for raw in seeds:
            obeys(parse(raw, NOW))
    for n in range(inputs):
        name = names[n % len(names)]
        parse, seeds = targets[name]
        raw = broken(rng, rng.choice(seeds))
        received_at = rng.choice((NOW, NOW, NOW, NOW - DAY, 0, 2**62))
        try:
            obeys(parse(raw, received_at))
            counts[f"{name}: records"] += 1
        except ParseError:
            counts[f"{name}: ParseError"] += 1
        except BaseException as error:
            raise AssertionError(
                f"{name}: {type(error).__name__}: {error}\nreceived_at={received_at}\nraw={raw!r}"
            ) from error
        if n % 100_000 == 99_999:
            tell(f"{n + 1} inputs")
    return counts


if __name__ == "__main__":
    started = time.monotonic()
    result = fuzz(int(sys.argv[1]), int(sys.argv[2]), lambda text: print(text, flush=True))
    for line in sorted(result):
        print(f"{line}: {result[line]}")
    print(
        f"{sum(result.values())} inputs over {len(_targets())} parsers in {time.monotonic() - started:.0f} s: no error but ParseError"
    )
