"""Decoding shared by all providers: accepts the formats that vendors use, raises ParseError for anything else.

Numbers may be numbers or text; missing ones (null or "") become NaN, never 0. Times are s, ms, us or ns, distinguished
by magnitude, or text in UTC. All functions are pure and raise ParseError only.
"""

import csv
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from struct import error as struct_error
from typing import Any

import numpy as np

from liqsignals.clock import MINUTE, Int64Array, iso
from liqsignals.records import Float64Array
from liqsignals.sources.spec import ParseError

#: Tolerance for a provider's clock ahead of ours; rows farther in the future are rejected.
AHEAD = 10 * MINUTE
#: Bound on the magnitude of any number (its inverse the lower bound), so that products and ratios stay finite.
LARGEST = 1e24
_OLDEST = int(datetime(2009, 1, 1, tzinfo=UTC).timestamp())
_NEWEST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
_TEXT_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|\+00:00)?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INTEGER = re.compile(r"\d{9,19}", re.ASCII)
#: The archive's names of files: symbol, what, day or month.
_NAMED = re.compile(r"(\w+)-\w+-\d{4}-\d\d(?:-\d\d)?\.csv", re.ASCII)
#: What vendors write where they have no number, in any case.
_BLANK = ("", "null", "nan", "none", "n/a")


def shown(value: Any) -> str:
    """A value for an error message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def answer(raw: bytes, what: str) -> Any:
    """A decoded JSON answer. Raises ParseError, with its own message for an HTML page."""
    head = raw[:200].lstrip().lower()
    if head.startswith(b"<"):
        raise ParseError(f"{what}: the answer is a web page, not JSON: {shown(raw[:60].decode('latin-1'))}")
    try:
        return json.loads(raw, parse_constant=lambda name: None, parse_int=_int)
    except (ValueError, RecursionError) as error:
        raise ParseError(
            f"{what}: not JSON ({str(error)[:80]}); it begins with {shown(raw[:40].decode('latin-1'))}"
        ) from error


def _int(text: str) -> int | float:
    return int(text) if len(text) < 25 else float(text)


def rows(raw: bytes, what: str, *path: str) -> list[Any]:
    """The list at `path` inside a JSON answer."""
    return _list_at(answer(raw, what), what, path)


def _list_at(found: Any, what: str, path: Sequence[str]) -> list[Any]:
    for key in path:
        if not isinstance(found, dict) or key not in found:
            raise ParseError(f"{what}: no field '{key}' in {shown(found)}")
        found = found[key]
    if not isinstance(found, list):
        raise ParseError(f"{what}: a list was expected, not {shown(found)}")
    return found


def checked_rows(raw: bytes, what: str, code: str, good: tuple[object, ...], said: str, *path: str) -> list[Any]:
    """Like `rows`, for answers with a status field `code` (valid values: `good`) and an error text `said`."""
    return _list_at(_checked_answer(raw, what, code, good, said), what, path)


def checked_object(raw: bytes, what: str, code: str, good: tuple[object, ...], said: str, key: str) -> dict[str, Any]:
    """Like `checked_rows`, for the object in the field `key`."""
    found = _checked_answer(raw, what, code, good, said)
    inside = found.get(key) if isinstance(found, dict) else None
    if not isinstance(inside, dict):
        raise ParseError(f"{what}: no object '{key}' in {shown(found)}")
    return inside


def _checked_answer(raw: bytes, what: str, code: str, good: tuple[object, ...], said: str) -> Any:
    found = answer(raw, what)
    if isinstance(found, dict) and code in found and found[code] not in good:
        raise ParseError(f"{what}: the provider returned an error: {shown(found[code])}, {shown(found.get(said))}")
    return found


def column(table: Sequence[Any], key: str | int, what: str, default: Any = KeyError) -> list[Any]:
    """One field of every row. Rows are objects (`key` is text) or lists (`key` is a number)."""
    kind = dict if isinstance(key, str) else list
    out = []
    for n, row in enumerate(table):
        here = (
            key in row if isinstance(row, dict) else isinstance(row, list) and isinstance(key, int) and key < len(row)
        )
        if not isinstance(row, kind) or not here:
            if default is KeyError or not isinstance(row, kind):
                raise ParseError(f"{what}: row {n} has no field {key!r}: {shown(row)}")
            out.append(default)
            continue
        out.append(row[key])  # type: ignore[index]
    return out


def number(value: Any, what: str) -> float:
    """A number, or text of one; NaN where missing. Raises ParseError for anything else, infinities included."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _BLANK):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ParseError(f"{what}: {shown(value)} is not a number")
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        # Python parses 1_000 and digits of other scripts; no vendor sends them.
        raise ParseError(f"{what}: {shown(value)} is not a number")
    try:
        out = float(value)
    except (ValueError, OverflowError):
        raise ParseError(f"{what}: {shown(value)} is not a number") from None
    if math.isinf(out) or abs(out) > LARGEST or 0 < abs(out) < 1 / LARGEST:
        raise ParseError(f"{what}: {shown(value)} is outside the range of market data")
    return out


def numbers(values: Iterable[Any], what: str, *, least: float | None = None) -> Float64Array:
    """float64 array of numbers or text of them; NaN where missing. Raises ParseError below `least`."""
    out = np.array([number(v, what) for v in values], np.float64)
    if least is not None and (out < least).any():
        row = int(np.flatnonzero(out < least)[0])
        raise ParseError(f"{what}: row {row} is {out[row]:g}, below {least:g}")
    return out


def stamp(value: Any, what: str) -> int:
    """ns UTC of an epoch in s, ms, us or ns (by magnitude; number or text), or of text such as 2025-07-01 00:05:00."""
    if isinstance(value, str):
        if (match := _TEXT_TIME.fullmatch(value)) or _DAY.fullmatch(value):
            text = f"{match[1]}T{match[2]}" if match else value
            try:
                seconds = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
            except ValueError:
                raise ParseError(f"{what}: {shown(value)} is not a time") from None
            return _checked(seconds * 1_000_000_000, value, what)
        if not _INTEGER.fullmatch(value):
            raise ParseError(f"{what}: {shown(value)} is not a time")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParseError(f"{what}: {shown(value)} is not a time")
    for least, unit in ((10**17, 1), (10**14, 1_000), (10**11, 1_000_000), (0, 1_000_000_000)):
        if value >= least:
            # Convert whole units and fraction separately: a float of seconds cannot represent ns.
            return _checked(int(value) * unit + round((value - int(value)) * unit), value, what)
    raise ParseError(f"{what}: {shown(value)} is not a time")


def _checked(ns: int, value: Any, what: str) -> int:
    if not _OLDEST * 1_000_000_000 <= ns < _NEWEST * 1_000_000_000:
        raise ParseError(f"{what}: {shown(value)} is not a time between 2009 and 2100")
    return ns


def stamps(values: Iterable[Any], what: str, received_at: int | None = None) -> Int64Array:
    """ns UTC of many times. With `received_at`, raises ParseError for times more than AHEAD after it."""
    out = np.array([stamp(v, what) for v in values], np.int64)
    if received_at is not None and len(out) and (late := int(out.max())) > received_at + AHEAD:
        raise ParseError(
            f"{what}: its time {iso(late)} is {(late - received_at) / 60e9:.0f} min after its arrival at "
            f"{iso(received_at)}. A clock is wrong: the provider's, or this machine's (check it with `liqsignals "
            "doctor`)"
        )
    return out


def an_object(value: Any, what: str) -> dict[str, Any]:
    """`value` as a JSON object. Raises ParseError for anything else."""
    if not isinstance(value, dict):
        raise ParseError(f"{what}: an object was expected, not {shown(value)}")
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """`value` as a list. Raises ParseError for anything else."""
    if not isinstance(value, list):
        raise ParseError(f"{what}: a list was expected, not {shown(value)}")
    return value


def text(row: Mapping[str, Any], key: str, what: str) -> str:
    """A non-empty text field."""
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise ParseError(f"{what}: no {key!r} in {shown(dict(row))}")
    return value


def above_zero(row: Mapping[str, Any], key: str, what: str) -> float:
    """A number field above zero."""
    value = number(row.get(key), f"{what}, {key}")
    if not value > 0:
        raise ParseError(f"{what}: {key!r} is {shown(row.get(key))}, not above zero")
    return value


def instant(row: Mapping[str, Any], key: str, what: str, received_at: int) -> int:
    """A time field (ns UTC), at most AHEAD after `received_at`."""
    return int(stamps([row.get(key)], f"{what}, {key}", received_at)[0])


def unzip(raw: bytes, what: str, limit: int = 64 * 1024 * 1024, symbol: str = "") -> bytes:
    """The only file of a zip archive. Raises ParseError for several files, more than `limit` bytes, or damage.

    With a `symbol`, a file that is named after another one (`ETHUSDT-5m-2026-02-01.csv`) raises ParseError, too.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ParseError(f"{what}: the zip holds {len(names)} files, not one")
            named = _NAMED.match(names[0].rsplit("/", 1)[-1])
            if symbol and named and named[1] != symbol:
                raise ParseError(f"{what}: the zip holds {shown(names[0])}, which is not of {symbol}")
            with archive.open(names[0]) as member:
                # The size in the zip header is not trusted.
                content = member.read(limit + 1)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, ParseError):
            raise
        raise ParseError(f"{what}: the zip is damaged or incomplete ({error})") from error
    except (NotImplementedError, RuntimeError, OverflowError, struct_error, MemoryError) as error:
        raise ParseError(f"{what}: the zip is damaged or incomplete ({error})") from error
    if len(content) > limit:
        raise ParseError(f"{what}: the zip unpacks to more than {limit >> 20} MiB; not taken")
    return content


def csv_table(raw: bytes, what: str, names: Sequence[str]) -> list[list[str]]:
    """Rows of a CSV, columns `names` in this order; a header line is checked and skipped. Any field may be quoted."""
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ParseError(f"{what}: not text ({error})") from error
    table = [_fields(line, what) for line in lines if line.strip()]
    if table and not table[0][0][:1].isdigit():
        if table[0][: len(names)] != list(names):
            raise ParseError(f"{what}: unknown columns {shown(table[0])}; expected {','.join(names)}")
        table = table[1:]
    for n, row in enumerate(table):
        if len(row) < len(names):
            raise ParseError(f"{what}: row {n} has {len(row)} columns, not {len(names)}: {shown(row)}")
    return table


def _fields(line: str, what: str) -> list[str]:
    """Fields of one line of a CSV, without the blanks around them."""
    if '"' not in line:
        return [field.strip() for field in line.split(",")]
    try:
        return [field.strip() for field in next(csv.reader([line], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise ParseError(f"{what}: quotes that do not match ({error}): {shown(line)}") from error
