"""`liqsignals doctor --report FILE.zip`: what a maintainer needs to see of an installation, without its secrets.

A zip of text files: versions, the configuration with secrets hidden, the doctor's findings, the data's files with sizes
and times, and the end of each log. A secret is every value of the configuration or the environment under a name such as
`key`, `token` or `password`; it is hidden wherever it stands, in the logs and findings, too, and in the spellings of
addresses, JSON and basic authentication. What a log has after such a name is hidden whether it is known or not.
"""

import json
import os
import platform
import re
import sys
import zipfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from liqsignals.clock import iso
from liqsignals.collect.fetch import HIDDEN, redact
from liqsignals.collect.freqtrade_command import Configuration
from liqsignals.errors import InputError
from liqsignals.files import written

#: Packages whose versions matter.
PACKAGES = (
    "liqsignals", "freqtrade", "ccxt", "numba", "llvmlite", "numpy", "pandas", "pyarrow", "httpx", "websockets", "aiohttp",
    "scipy", "scikit-learn", "TA-Lib", "plotly", "matplotlib", "distributed",
)  # fmt: skip
#: Names of keys and variables that hold secrets.
_SECRET = re.compile(
    r"key|secret|passw|passcode|phrase|token|chat_?id|wallet_?address|mnemonic|cookie|authorization|credential|twofa"
    r"|(?:pass|pwd|auth|otp|(?<!q)uid)$",
    re.IGNORECASE,
)
#: Names of keys that say who somebody is.
_WHO = re.compile(r"login|account|user_?name", re.IGNORECASE)
#: Names of keys whose values have ordinary words beside the secret: `Bearer ...`, `session=...`.
_HEADER = re.compile(r"cookie|authorization", re.IGNORECASE)
#: Parts of the names of keys whose addresses are hidden; only their long parts are secrets wherever they stand.
_ADDRESSES = ("url", "host", "proxy")
#: Characters from which on a part of an address with letters and digits is no word but a secret.
_LONG = 16
#: Blocks of a configuration of which nothing but switches is shown: addresses and names of people are there.
_PRIVATE = ("telegram", "webhook", "discord", "external_message_consumer", "api_server", "headers")
#: Secrets of fewer characters are hidden at their own place only: they would be found in any text.
_SHORT = 5
#: Bytes of the end of a log.
TAIL = 200_000
#: Files that are listed at most.
_MOST = 20_000
#: What is a secret wherever it stands: Telegram's tokens, JSON web tokens, credentials.
_FORMS = re.compile(
    r"(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?i:(?<=basic )|(?<=bearer ))[A-Za-z0-9+/=._~-]{6,}"
)
# What a log says before a secret: a name, by its end (`X-MBX-APIKEY`): one whose secret may take the rest of the line, one
# that no sentence has, ...
_LINE = r"(?i:authorization|cookie|(?:seed|recovery)[ _-]?phrase|mnemonic)"
_SURE = r"(?:(?i:passw(?:or)?d|passcode|pass[ _-]?phrase|-(?:api-?|access-)key|-sign)|(?:api|listen|secret|private)Key)"
# ... one that is an ordinary word, too, ...
_OTHER = (
    r"(?i:(?:api|access|secret|private|listen)[ _-]?key|secret|token|(?<!by)pass|signature|[_-]sign|twofa|chat[ _-]?id"
    r"|wallet[ _-]?address|(?<!q)uid|login|account[ _-]?(?:id|alias)|sub[ _-]?account(?:[ _-]?(?:id|name))?)"
)
_ANY = rf"(?:{_LINE}|{_SURE}|{_OTHER}|(?<=[\"'])(?i:key)(?=\\*[\"']))"
# ... and after it.
_IS = r"[ \t]*(?:=>|[:=])[ \t]*"
_NOT = r"(?!(?i:none|null|true|false)\b)"
# A text in JSON that ends with the secret stays one.
_END = r"[\"'][,)\]}]*"
_BLACK = rf"(?:(?!{_END}(?:\s|$))\S)"
#: Secrets after such a name, which is the group. After an ordinary word without quotes only what looks like no word counts.
_NAMED = tuple(
    re.compile(pattern)
    for pattern in (
        rf"({_ANY}\\+[\"']{_IS}\\+[\"'])(?:(?!\\+[\"'])[^\n])+",  # JSON in JSON
        rf"({_ANY}[\"']?{_IS}\[?b?(?P<quote>[\"']))(?:\\.|(?!(?P=quote))[^\\\n])+",
        rf"(\(b?[\"'][\w-]*{_ANY}[\"'], ?b?(?P<quote>[\"']))(?:\\.|(?!(?P=quote))[^\\\n])+",  # headers as pairs
        rf"({_ANY}\\*[\"']{_IS}){_NOT}[^\s,;\"'()\[\]{{}}\\]+",  # a number in JSON
        rf"({_LINE}{_IS})[^\s\"'](?:(?!{_END}(?:\n|$))[^\n])*",
        rf"({_SURE}[ \t]*:[ \t]*)[^\s\"']{_BLACK}*",
        rf"((?:{_SURE}[ \t]*=[ \t]*|{_OTHER}=)){_NOT}[^\s&\"']+",
        rf"({_OTHER}{_IS})(?:(?={_BLACK}*(?:\d|[a-z][A-Z]))[^\s\"']{_BLACK}{{4,}}|[^\s\"']{_BLACK}{{15,}})",
    )
)


def write(
    out: Path,
    report: Mapping[str, Any],
    config: Configuration | None,
    logs: Sequence[Path],
    now: int,
    environment: Mapping[str, str],
) -> list[str]:
    """Write the bundle to `out` (.zip) in one step; the names of its files.

    `report` is the answer of `examine`, `config` freqtrade's configuration, None where none was named; `logs` are text
    files; `environment` has variables that may hold secrets. Raises InputError where a log cannot be read or `out` not
    be written.
    """
    merged = {} if config is None else config.merged
    # Those of a file count, too, where another file has another value.
    texts = [Path(path).read_text(errors="replace") for path in (config.files if config is not None else ())]
    settings = [merged, _of(environment), *(_object(text) for text in texts), *(_quoted(text) for text in texts)]
    secrets = {secret for one in settings for secret in _secrets(one)}
    who = [re.escape(name) for one in settings for name in _who(one)]
    home = str(Path.home())

    def clean(text: str) -> str:
        text = _FORMS.sub(HIDDEN, redact(text, secrets))
        for pattern in _NAMED:
            text = pattern.sub(rf"\1{HIDDEN}", text)
        if who:
            text = re.sub(rf"(?<!\w)(?:{'|'.join(who)})(?!\w)", HIDDEN, text)
        return text.replace(home, "~") if len(home) > 1 else text

    parts = {
        "versions.json": json.dumps({"made": iso(now), **versions()}, indent=1),
        "doctor.json": json.dumps(report, indent=1, default=str),
        "files.tsv": "\n".join(_files(Path(str(report["datadir"])))) + "\n",
    }
    if config is not None:
        parts["config.json"] = json.dumps(shown(merged), indent=1)
    for number, log in enumerate(logs, 1):
        parts[f"log-{number}-{log.name}"] = _tail(log)
    with written(out, (".zip",)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(clean(name), clean(part))
    return list(parts)


def versions() -> dict[str, Any]:
    """Versions of Python, system and packages; None for a package that is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return {"python": sys.version, "platform": platform.platform(), "cores": os.cpu_count(), "packages": found}


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its secrets: each is replaced, so that one sees that it was set.

    >>> shown({"exchange": {"name": "binance", "key": "abc", "secret": ""}})
    {'exchange': {'name': 'binance', 'key': '[hidden]', 'secret': ''}}
    """
    return {key: _shown(value, _hides(key)) for key, value in config.items()}


def _shown(value: Any, hidden: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(inner, hidden or _hides(str(key))) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner, hidden) for inner in value]
    return HIDDEN if hidden and value not in (None, "") and not isinstance(value, bool) else value


def _hides(name: str) -> bool:
    known = name.lower() in _PRIVATE or any(part in name.lower() for part in _ADDRESSES)
    return known or bool(_SECRET.search(name) or _WHO.search(name))


def _object(text: str) -> dict[str, Any]:
    """A configuration, empty where it is no plain JSON (freqtrade takes comments)."""
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _quoted(text: str) -> list[dict[str, str]]:
    """Texts and numbers with their names in a text that is no plain JSON."""
    found = re.findall(r'"([\w-]+)"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?\d+))', text)
    return [{name: value or number} for name, value, number in found]


def _of(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.upper().startswith(("FREQTRADE__", "LIQSIGNALS_"))
    }


def _values(value: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Blocks and values of a configuration, each with the names above it; no switches."""
    if isinstance(value, Mapping):
        yield names, value
        for key, inner in value.items():
            yield from _values(inner, *names, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, *names)
    elif not isinstance(value, bool):
        yield names, value


def _secrets(config: Any) -> Iterator[str]:
    """Values that are hidden wherever they stand, and the credentials that they make together."""
    for names, value in _values(config):
        if isinstance(value, Mapping):
            if value.get("username") and value.get("password"):
                yield b64encode(f"{value['username']}:{value['password']}".encode()).decode()
        elif any(_HEADER.search(name) for name in names):
            pieces = re.split(r"[\s;,=]+", str(value))
            yield from (p for p in pieces if len(p) >= _LONG or (len(p) >= _SHORT and re.search(r"\d", p)))
        elif any(_SECRET.search(name) for name in names):
            if len(str(value)) >= _SHORT:
                yield str(value)
        elif isinstance(value, str) and "://" in value:
            address = urlsplit(value)
            if address.password:
                yield unquote(address.password)
            parts = re.split(r"[/?&=#]", f"{address.path}?{address.query}")
            yield from (p for p in parts if len(p) >= _LONG and re.search(r"\d", p) and re.search(r"[A-Za-z]", p))


def _who(config: Any) -> Iterator[str]:
    """Names and numbers of people and accounts that are hidden where they stand as a whole: no ordinary words."""
    for names, value in _values(config):
        text = "" if isinstance(value, Mapping) or not any(_WHO.search(name) for name in names) else str(value)
        if len(text) > _SHORT and re.search(r"[\d@]", text):
            yield text


def _files(datadir: Path) -> Iterator[str]:
    yield "bytes\tchanged\tfile"
    for number, path in enumerate(sorted(path for path in datadir.rglob("*") if path.is_file())):
        if number >= _MOST:
            yield f"and more: the first {_MOST} are listed"
            return
        status = path.stat()
        yield f"{status.st_size}\t{iso(status.st_mtime_ns)}\t{path.relative_to(datadir)}"


def _tail(log: Path) -> str:
    """The end of a log, from the begin of a line."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL, 0))
            data = file.read()
    except OSError as error:
        raise InputError(f"{log}: cannot be read ({error.strerror})", "name a log file with --log") from error
    return data[data.find(b"\n") + 1 if size > TAIL else 0 :].decode(errors="replace")
