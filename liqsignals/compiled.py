"""numba's njit with a cache that is never stale and never raises.

numba reuses a cached function while the function's own file is unchanged: after an edit of a helper in another file it
returns the old result. So the cache's folder is named after a hash of all the sources that belong together.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

_config: Any = numba.config
logger = logging.getLogger(__name__)


def cached(sources: Sequence[Path], **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: `numba.njit(**options)`, cached in a folder named after a hash of `sources` and numba's version.

    The folder lies in $NUMBA_CACHE_DIR where that is set, else in the package, else in the user's cache folder, else in
    a temporary one. Where none of these can be written nothing is cached: one warning, no error.
    """
    hashed = hashlib.sha256(numba.__version__.encode())
    for source in sources:
        hashed.update(hashlib.sha256(source.read_bytes()).digest())
    name = f"kernels-{hashed.hexdigest()[:16]}"

    def decorate(function: Callable[..., Any]) -> Any:
        root = _root()
        if root is None:
            return numba.njit(**options)(function)
        # numba reads the folder once, here; other packages' functions keep their own.
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(root / name)
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            _config.CACHE_DIR = before

    return decorate


@lru_cache(maxsize=1)
def _root() -> Path | None:
    """The first folder that can be written, None where there is none."""
    named = _config.CACHE_DIR
    wanted = [Path(named)] if named else []
    wanted.append(Path(__file__).parent / "__pycache__")
    with suppress(RuntimeError):  # a user without a home directory
        wanted.append(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "liqsignals")
    found = next((folder for folder in wanted if _writable(folder)), None)
    if found is not None and (not named or found == wanted[0]):
        return found
    found = found or _temporary()
    logger.warning(
        "compiled functions cannot be kept in %s; %s. Way out: set NUMBA_CACHE_DIR to a folder that may be written",
        " or ".join(str(folder) for folder in wanted if folder != found),
        f"they are kept in {found}" if found else "each start compiles them again, which takes a minute",
    )
    return found


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _temporary() -> Path | None:
    """A temporary folder that only this user can write, because the cache holds code that runs."""
    try:
        folder = Path(tempfile.gettempdir()) / f"liqsignals-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    safe = folder.is_dir() and not folder.is_symlink() and state.st_uid == os.getuid() and not state.st_mode & 0o022
    return folder if safe and _writable(folder) else None
