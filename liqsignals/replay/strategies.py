"""What a strategy's file says without being run: where it is, and its timeframe."""

import ast
import json
import re
from pathlib import Path

from liqsignals.errors import InputError


def strategy_file(folder: Path, name: str) -> Path:
    """The file of a folder that defines a strategy class. Raises InputError where none does."""
    for path in sorted(folder.glob("*.py")):
        if re.search(rf"^class {re.escape(name)}\b", path.read_text(), re.MULTILINE):
            return path
    raise InputError(
        f"no file in {folder} defines the strategy {name}",
        "check --strategy and --userdir",
    )


def own_timeframe(config: Path, folder: Path, name: str) -> str:
    """The timeframe that freqtrade runs a strategy at: the configuration's, else that of its class.

    Raises InputError where neither names one: a class outside the file may.
    """
    try:
        configured = json.loads(config.read_text()).get("timeframe")
    except (OSError, ValueError, AttributeError):  # freqtrade says what is wrong with it
        configured = None
    if configured:
        return str(configured)
    path = strategy_file(folder, name)
    classes = {one.name: one for one in ast.parse(path.read_text()).body if isinstance(one, ast.ClassDef)}
    waiting, seen = [name], set[str]()
    while waiting:
        if (one := waiting.pop(0)) in seen or one not in classes:
            continue
        seen.add(one)
        for line in classes[one].body:
            if isinstance(line, ast.Assign):
                targets = line.targets
            elif isinstance(line, ast.AnnAssign):
                targets = [line.target]
            else:
                continue
            value = line.value
            if any(isinstance(x, ast.Name) and x.id == "timeframe" for x in targets) and isinstance(
                value, ast.Constant
            ):
                return str(value.value)
        waiting += [base.id for base in classes[one].bases if isinstance(base, ast.Name)]
    raise InputError(f"{path}: {name} names no timeframe", "name it: --timeframe 5m")
