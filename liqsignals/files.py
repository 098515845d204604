"""Files that other processes read and write meanwhile: replaced in one step, read whole, named as freqtrade names them."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from liqsignals.errors import InputError

#: How a repeated read waits, s; tests do not.
pause: Callable[[float], None] = time.sleep


def signature(path: Path) -> tuple[int, int]:
    """What changes when a file is rewritten: modification time (ns) and size."""
    stat = path.stat()
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
            raise InputError(
                f"{path} cannot be read: {error.strerror}",
                "check its permissions",
            ) from error
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            problem = f"it is damaged or incomplete ({str(error).splitlines()[0][:120]})"
    raise InputError(
        f"{path} cannot be read: {problem}",
        "wait until the download has ended and try again; if the file stays broken, delete it and download it again",
    )


def stem(pair: str) -> str:
    """A pair in a file's name, as freqtrade writes it.

    >>> stem("BTC/USDT:USDT")
    'BTC_USDT_USDT'
    """
    for char in "/ .@$+:":
        pair = pair.replace(char, "_")
    return pair


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file in `path`'s folder that takes its name when the block succeeds, and is on disk by then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error})",
            "free space, or permissions",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written(out: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """A temporary file beside `out` that takes its name when the block succeeds: never a torn file."""
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
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=out.suffix)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror})",
            "choose another folder",
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
