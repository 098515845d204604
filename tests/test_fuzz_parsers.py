"""A small run of `make fuzz`: parsers raise ParseError and nothing else, and every parser takes part."""

from dataclasses import replace

import fuzz_parsers
import pytest

from liqsignals.sources import PROVIDERS, Prints


def test_broken_inputs_give_records_or_a_parse_error() -> None:
    counts = fuzz_parsers.fuzz(6_000, seed=3)
    assert sum(counts.values()) == 6_000
    # Where nothing is ever accepted, or nothing refused, the breaking does not reach the parser.
    for name in fuzz_parsers._targets():
        assert counts[f"{name}: records"] > 0, name
        assert counts[f"{name}: ParseError"] > 0, name


def test_the_fuzzer_finds_a_planted_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(raw: bytes, received_at: int) -> Prints:
        if b"LIMIT" not in raw:
            raise KeyError("o")
        return {}

    first, *others = PROVIDERS
    (stream,) = first.streams
    monkeypatch.setattr(fuzz_parsers, "PROVIDERS", (replace(first, streams=(replace(stream, parse=planted),)), *others))
    with pytest.raises(AssertionError, match="binance liquidations: KeyError"):
        fuzz_parsers.fuzz(3_000, seed=3)
