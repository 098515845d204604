"""What is wrong with freqtrade's configuration, as far as liqsignals and real money go.

Judged is what freqtrade makes of all files and the environment (collect/freqtrade_command.py); each file by itself for
the secrets that stand in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from liqsignals.collect.freqtrade_command import Configuration, merge
from liqsignals.errors import InputError
from liqsignals.files import FORMATS
from liqsignals.liqmap import calibration
from liqsignals.strategy import verdicts
from liqsignals.strategy.config import Risk
from liqsignals.strategy.livecheck import LiveCheck
from liqsignals.strategy.orders import stop_problems
from liqsignals.strategy.signals import Signals

#: Keys of a configuration that belong into the environment.
SECRETS = (
    ("exchange", "key"), ("exchange", "secret"), ("exchange", "password"), ("telegram", "token"), ("api_server", "password"),
    ("api_server", "jwt_secret_key"), ("api_server", "ws_token"),
)  # fmt: skip


def plain(files: Sequence[Path]) -> Configuration:
    """Files of JSON, later ones over earlier, without freqtrade: it alone reads other files that they name, and the
    environment.
    """
    read, merged, problems = dict[str, Any](), dict[str, Any](), []
    for path in files:
        try:
            found = _parsed(path.read_text())
            if not isinstance(found, dict):
                raise ValueError("it is no object")
        except (ValueError, UnicodeDecodeError) as error:
            problems.append(f"{path} is no JSON that can be read ({error}). Way out: mend it")
            found = {}
        read[str(path)] = found
        merged = merge(merged, found)
    return Configuration(merged, tuple(problems), read, asked=False)


def _parsed(text: str) -> Any:
    """JSON as freqtrade reads it, with comments and commas at the end; strictly without its parser."""
    try:
        import rapidjson
    except ImportError:
        return json.loads(text)
    return rapidjson.loads(text, parse_mode=rapidjson.PM_COMMENTS | rapidjson.PM_TRAILING_COMMAS)


def dataformat(config: Configuration | None) -> str | None:
    """`dataformat_ohlcv`, where it is one."""
    found = config.merged.get("dataformat_ohlcv") if config is not None else None
    return found if isinstance(found, str) and found in FORMATS else None


def judge(config: Configuration, datadir: Path) -> tuple[dict[str, Any], calibration.Calibration | None, list[str]]:
    """What liqsignals makes of a configuration, the calibration that it uses, and the problems."""
    name = ", ".join(config.files) or "the configuration"
    problems = [f"{name}: freqtrade refuses it: {text}" if config.asked else text for text in config.problems]
    problems += [f"{path}: {text}" for path, of in config.files.items() for text in _secrets(of)]
    merged = config.merged
    if not merged:
        return {"file": name}, None, problems
    problems += [f"{name}: {text}" for text in (*stop_problems(merged), *config.missing)]
    try:
        if not isinstance(merged.get("exchange", {}), dict):
            raise InputError('"exchange" is no object', 'write "exchange": {"name": "binance"}')
        signals = Signals.from_config({**merged, "datadir": merged.get("datadir") or str(datadir)})
    except InputError as error:
        return {"file": name}, None, [*problems, f"{name}: {error}"]
    if merged.get("dry_run") is False:
        problems += [f"{name}: live entries would be refused: {why}" for why in _refused(merged)]
    found = {
        "file": name,
        "datadir": str(signals.datadir),
        "extras": str(signals.extras),
        "finest": signals.finest,
    }
    return found, signals.calibration, problems


def _secrets(config: Mapping[str, Any]) -> Iterator[str]:
    """Secrets that stand in a configuration file, by name."""
    for block, name in SECRETS:
        if isinstance(inner := config.get(block), dict) and inner.get(name):
            yield (
                f"{block}.{name} is in the file, where backups and bug reports carry it away. Way out: take it out and"
                f" set FREQTRADE__{block.upper()}__{name.upper()} in the environment"
            )


def _refused(config: Mapping[str, Any]) -> Iterator[str]:
    """Why no entry would be made with real money."""
    risk = Risk.parse(config.get("liqsignals") or {})
    for _, why in LiveCheck.from_config(config, "live", risk.limits).configured():
        yield why
    sides = [side for of in verdicts.packaged().values() for side in of.values()]
    if not risk.allow_unproven and verdicts.PROVEN not in sides:
        yield (
            "no walk-forward has shown that a shipped strategy adds anything (docs/results.md). Way out: name the sides "
            'that are to trade nevertheless, "liqsignals": {"allow_unproven": ["STRATEGY:long"]}'
        )
