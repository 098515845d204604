"""How the market's kernels are compiled: cached under a name that changes with any of their sources.

numba looks at the file of the cached function only; a helper edited in another file would go on serving its old result.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_FOLDER = Path(__file__).parent
#: Its names are made at run time.
_config: Any = numba.config


def cache_folder(sources: Path, under: Path) -> Path:
    """Where the kernels of `sources` are cached: a folder named after their bytes and numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(sources.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return under / f"market-{digest.hexdigest()[:16]}"


_CACHE = cache_folder(_FOLDER, Path(_config.CACHE_DIR or _FOLDER / "__pycache__"))


def kernel(function: Function) -> Function:
    """Compile with numba, cached in `cache_folder` (numba's own choice where that cannot be written)."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(_CACHE)
    try:
        return cast(Function, njit(cache=True)(function))
    finally:
        _config.CACHE_DIR = before
