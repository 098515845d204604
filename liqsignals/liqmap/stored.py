"""Files of fitted parameters (calibration.py, squeeze.py): JSON with a `format`, refused with what is wrong and the way
out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from liqsignals.errors import InputError

T = TypeVar("T")


def content_of(path: Path, what: str) -> bytes:
    """A file's bytes. Raises InputError where it cannot be read; `what` names the kind of parameters."""
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"{what} {path}: cannot be read ({error.strerror})", "name an existing file") from error


def parsed(raw: bytes, what: str, kind: str, origin: str, remedy: str, build: Callable[[dict[str, Any]], T]) -> T:
    """`build(content)` of a file's JSON.

    Raises InputError("`what` `origin`: ...", `remedy`) where the content is no `kind`, or for the problem that `build`
    raises as InputError.
    """
    try:
        return build(json.loads(raw))
    except InputError as error:
        cause: Exception = error
        why = error.problem
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        cause, why = error, f"not {kind} ({error!r})"
    raise InputError(f"{what} {origin}: {why}", remedy) from cause


def check_format(content: dict[str, Any], expected: str) -> None:
    """Raise InputError for another format than the one that this version reads."""
    if content.get("format") != expected:
        raise InputError(f"format is {content.get('format')!r}, this version reads {expected!r}")
