"""Files shared with other processes: replaced atomically, read whole, named as freqtrade names them."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from liqsignals.errors import InputError

#: How a repeated read waits, s; tests do not.
pause: Callable[[float], None] = time.sleep


def refused(error: OSError, path: Path | None = None) -> InputError:
    """What the system refused, as an error for the user; `path` where the error does not name its file.

    >>> print(refused(PermissionError(errno.EACCES, "Permission denied", "a/b")))
    a/b: Permission denied. Way out: check the owner and permissions of it and of the folders above it
    """
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " -> ".join(names) or (str(path) if path is not None else "")
    problem = error.strerror or str(error) or type(error).__name__
    return InputError(f"{where}: {problem}" if where else problem, _REMEDIES.get(error.errno or 0, ""))


_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check the owner and permissions of it and of the folders above it"),
    errno.EROFS: "choose a folder that can be written to",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space on the disk"),
}


@contextmanager
def access(path: Path) -> Iterator[None]:
    """Raise what the system refuses in the block as an InputError (`refused`)."""
    try:
        yield
    except OSError as error:
        raise refused(error, path) from error


def signature(path: Path | str) -> tuple[int, int]:
    """What changes when a file is rewritten: modification time (ns) and size."""
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size


def read_stable(path: Path, load: Callable[[Path], pd.DataFrame], attempts: int = 4) -> pd.DataFrame:
    """Load a file that another process may be rewriting in place, as freqtrade does with feathers.

    A read that fails, or during which the file changed, is tried again; after `attempts` an InputError names the
    file and the way out.
    """
    problem = ""
    for attempt in range(attempts):
        if attempt:
            pause(0.05 * 2**attempt)
        try:
            before = signature(path)
            frame = load(path)
            if signature(path) == before:
                return frame
            problem = "it keeps changing while it is read"
        except InputError:
            raise  # its content is wrong, not its bytes
        except FileNotFoundError:
            problem = "it vanished while it was read"
        except PermissionError as error:
            raise refused(error, path) from error
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            problem = f"it is damaged or incomplete ({str(error).splitlines()[0][:120]})"
    raise InputError(
        f"{path} cannot be read: {problem}",
        "wait until the download has ended and try again; if the file stays broken, delete it and download it again",
    )


#: What freqtrade keeps of a pair, and the ending of its files by format (`dataformat_ohlcv`).
CANDLE_TYPES = ("futures", "mark", "index", "premiumIndex", "funding_rate", "open_interest")
FORMATS = {"feather": ".feather", "parquet": ".parquet", "json": ".json", "jsongz": ".json.gz"}
SUFFIXES = tuple(FORMATS.values())
_DATA_FILE = re.compile(rf"(.+)-(\d+[mhdw])-({'|'.join(CANDLE_TYPES)})({'|'.join(map(re.escape, SUFFIXES))})")


#: Words of what a table is about; some are names of coins, too.
_SUBJECT = frozenset(
    [
        "all",
        "by",
        "daily",
        "data",
        "exchange",
        "flow",
        "flows",
        "hourly",
        "in",
        "interest",
        "inflow",
        "net",
        "netflow",
        "of",
        "open",
        "out",
        "outflow",
        "total",
        "venue",
    ]
)


def names_coin(path: Path, coin: str) -> bool:
    """Whether the name of a table has a coin as a word of its own.

    A coin that is called as what tables are about counts only where no other word could be one.

    >>> names_coin(Path("open-interest-btc-eth-4h.csv"), "ETH"), names_coin(Path("open-interest-btc-eth-4h.csv"), "OPEN")
    (True, False)
    >>> names_coin(Path("flow-exchange-flows.csv"), "FLOW")
    True
    """
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    if coin.lower() not in words:
        return False
    others = {word for word in words if word and not any(c.isdigit() for c in word)} - _SUBJECT
    return coin.lower() not in _SUBJECT or not others


@lru_cache(maxsize=4096)
def stem(pair: str) -> str:
    """A pair in a file's name, as freqtrade writes it.

    >>> stem("BTC/USDT:USDT")
    'BTC_USDT_USDT'
    """
    for char in "/ .@$+:":
        pair = pair.replace(char, "_")
    return pair


class DataFile(NamedTuple):
    """What the name of one of freqtrade's files says."""

    stem: str
    timeframe: str
    candle_type: str
    suffix: str

    @property
    def pair(self) -> str:
        """The pair of futures that has this stem."""
        return re.sub(r"^(.+)_([^_]+)_([^_]+)$", r"\1/\2:\3", self.stem)


def data_name(pair: str, timeframe: str, candle_type: str, suffix: str = SUFFIXES[0]) -> str:
    """Name of freqtrade's file of a pair, in the folder `futures`.

    >>> data_name("BTC/USDT:USDT", "5m", "open_interest")
    'BTC_USDT_USDT-5m-open_interest.feather'
    """
    return f"{stem(pair)}-{timeframe}-{candle_type}{suffix}"


def parse_name(name: str) -> DataFile | None:
    """What the name of a file in the folder `futures` says; None where it is no name of freqtrade's.

    >>> parse_name("BTC_USDT_USDT-5m-futures.feather").pair
    'BTC/USDT:USDT'
    """
    match = _DATA_FILE.fullmatch(name)
    return DataFile(*match.groups()) if match else None


def names(folder: Path | str) -> list[str]:
    """What a folder holds, in no order, nothing where there is none. Raises OSError where it cannot be listed."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


#: A folder's time is trusted once it is so old (s): a second change within a tick of the first has the same time.
_SETTLED = 2
#: By folder: what identifies its state, and freqtrade's files in it, by stem.
_listings: dict[str, tuple[tuple[int, int, int], dict[str, tuple[str, ...]]]] = {}


def held(folder: Path, pair: str) -> tuple[tuple[str, int, int], ...]:
    """Names and signatures of a pair's files in freqtrade's folder `futures`, in the order of their names; none without
    the folder.

    The folder is listed again when its own time has changed, which making, removing and renaming files changes: a bot
    asks for each pair at every candle. Raises OSError where that cannot be found out.
    """
    now = time.time_ns()
    try:
        state = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    changed = state.st_mtime_ns, state.st_ino, state.st_dev
    at, by_stem = _listings.get(str(folder), (None, {}))
    if at != changed:
        by_stem = _by_stem(folder)
        if now - state.st_mtime_ns > _SETTLED * 10**9:
            _listings[str(folder)] = changed, by_stem
    out = []
    for name in by_stem.get(stem(pair), ()):
        with suppress(FileNotFoundError):  # a link to nothing
            out.append((name, *signature(f"{folder}{os.sep}{name}")))
    return tuple(out)


def _by_stem(folder: Path) -> dict[str, tuple[str, ...]]:
    out: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):
        file = parse_name(name)
        if file is not None:
            out[file.stem] = (*out.get(file.stem, ()), name)
    return out


def format_of(datadir: Path) -> str | None:
    """The one format (FORMATS) of a data directory's candle files; None where there are several, or none."""
    suffixes = {file.suffix for path in (datadir / "futures").glob("*-futures.*") if (file := parse_name(path.name))}
    return next((name for name, suffix in FORMATS.items() if {suffix} == suffixes), None)


def put(temporary: Path, path: Path, *, durable: bool = True) -> None:
    """Let a whole file take a name in one step. It is on disk by then, unless not `durable`.

    A link stays one: the file that it names is replaced, on another disk by way of a copy there.
    """
    if durable:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    target = path.resolve() if path.is_symlink() else path
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replaced(target, durable=durable) as near:
            shutil.copyfile(temporary, near)
        temporary.unlink()


def lock(handle: int) -> bool:
    """Take the exclusive lock of an open file; False where another process has it.

    The lock ends when the file is closed, also when the process is killed. Raises OSError where the file system has no
    locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _create(path: Path, mode: int) -> tuple[int, Path]:
    """A new, locked temporary file beside `path`: its handle and name. `mode` is subject to the umask."""
    while True:
        temporary = path.parent / f".{path.name}-{secrets.token_hex(4)}.tmp"
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            lock(handle)
        except OSError:
            return handle, temporary  # no locks here; `sweep` leaves its files alone then
        # Before it was locked, another process may have taken it for a leftover.
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove temporary files of killed processes below a folder: those that no process has locked."""
    for path in folder.rglob(".*.tmp"):
        try:
            with path.open("rb") as file:
                if lock(file.fileno()):
                    path.unlink(missing_ok=True)
        except OSError:  # it has its name by now, or it is another user's
            continue


@contextmanager
def replaced(path: Path, *, durable: bool = True, private: bool = False) -> Iterator[Path]:
    """A temporary file in `path`'s folder (made if missing) that takes its name when the block succeeds (`put`).

    It has the permissions of the file that it replaces, or else those that the umask leaves; `private`: the user's
    alone. Raises InputError where it cannot be written; whatever fails, the old file stands and no temporary one stays.
    """
    temporary, handle = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _create(path, 0o600 if private else 0o666)
        if not private and path.exists():
            os.fchmod(handle, stat.S_IMODE(path.stat().st_mode))
        yield temporary
        put(temporary, path, durable=durable)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error})",
            _REMEDIES.get(error.errno or 0, "free space, or permissions"),
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """As `replaced`, of a whole folder: the block makes the one that it gets, which does not exist yet."""
    new, old = (path.parent / f".{path.name}.{word}-{os.getpid()}" for word in ("new", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # the second rename failed: put back what was there
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raise InputError unless a folder, made where it is missing, can be written."""
    with access(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def check_out(out: Path, suffixes: tuple[str, ...]) -> None:
    """Raise InputError unless a file that a user names with `--out` has one of the endings and can be written."""
    if out.suffix not in suffixes:
        raise InputError(f"--out {out}: unknown ending; use one of {', '.join(suffixes)}")
    if not out.parent.is_dir():
        raise InputError(
            f"--out {out}: there is no folder {out.parent}",
            "make it first",
        )
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(
            f"--out {out}: cannot be written",
            "choose a folder that you may write to",
        )


@contextmanager
def written(out: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """As `replaced`, of a file that a user names with `--out`: checked (`check_out`) before the block begins."""
    check_out(out, suffixes)
    with replaced(out) as temporary:
        yield temporary
