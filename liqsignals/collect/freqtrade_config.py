"""Print what freqtrade makes of configurations, as JSON: `python freqtrade_config.py FILE...`.

{"config": them merged with the environment's FREQTRADE__ variables, "files": each of them, those that they name
included, "problems": what freqtrade's own schema and checks refuse}. A script, run by its path, in a process of its own
(collect/freqtrade_command.py): it imports freqtrade and not liqsignals. Secrets are in "config" and "files", which go
through a pipe, and never in "problems".
"""

import json
import logging
import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any


def read(files: list[str]) -> dict[str, Any]:
    """Raises nothing for what freqtrade refuses: the reason is among the problems."""
    from freqtrade.config_schema import CONF_SCHEMA
    from freqtrade.config_schema.config_schema import SCHEMA_TRADE_REQUIRED
    from freqtrade.configuration.config_validation import FreqtradeValidator, validate_config_consistency
    from freqtrade.configuration.environment_vars import environment_vars_to_dict
    from freqtrade.configuration.load_config import load_config_file, load_from_files
    from freqtrade.enums import RunMode
    from freqtrade.exceptions import OperationalException
    from freqtrade.misc import deep_merge_dicts

    try:
        config = deep_merge_dicts(environment_vars_to_dict(), load_from_files(files))
    except OperationalException as error:
        # Its message quotes the file around a slip, and a secret may be there.
        return {"config": {}, "files": {path: {} for path in files}, "problems": [str(error).splitlines()[0]]}
    schema = deepcopy(CONF_SCHEMA)
    # The strategy gives what else is required.
    schema["required"] = [
        name for name in SCHEMA_TRADE_REQUIRED if name not in ("stoploss", "minimal_roi", "timeframe")
    ]
    checked = deepcopy(config)
    checked.setdefault("internals", {})
    problems = []
    for found in FreqtradeValidator(schema).iter_errors(checked):
        where = ".".join(str(part) for part in found.absolute_path)
        problems.append(f"{where}: {found.message}" if where else found.message)
    if not problems:
        checked["runmode"] = RunMode.DRY_RUN if checked.get("dry_run", True) else RunMode.LIVE
        try:
            validate_config_consistency({"stoploss": -0.1, "minimal_roi": {}, "timeframe": "5m", **checked})
        except OperationalException as error:
            problems.append(str(error))
    secrets = sorted(set(_secrets(config)), key=len, reverse=True)
    return {
        "config": config,
        "files": {path: load_config_file(path) for path in config["config_files"]},
        "problems": [_without(text, secrets) for text in problems],
    }


def _secrets(value: Any, named: bool = False) -> Iterator[str]:
    """Values of keys that hold secrets, and of all below them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            word = str(key).lower()
            secret = any(
                part in word
                for part in ("key", "secret", "password", "token", "uid", "chat_id", "wallet_address", "url")
            )
            yield from _secrets(inner, named or secret)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, named)
    elif named and value not in (None, "", True, False):
        yield str(value)


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # freqtrade logs what it validates, secrets included
    json.dump(read(sys.argv[1:]), sys.stdout)
