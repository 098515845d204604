"""The cache of compiled functions: never stale, never in the way, wherever it may be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import liqsignals

#: Compiles two small kernels of two files, one calling the other, and tells the result, the cache's folder and its
#: hits.
ASK = """
import tempfile
{before}
import liqsignals
from liqsignals.liqmap.kernels.read import first_above
import numpy as np
from liqsignals.liqmap.kernels import Grid
print(float(first_above(Grid(np.arange(1.0, 6.0), 0, 1.0), 1.5, 1.5)), end=" ")
print(first_above.stats.cache_path, sum(first_above.stats.cache_hits.values()))
"""
#: A folder that nobody, root included, can make or write.
NOWHERE = "/dev/null/none"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the library, alone in a folder."""
    shutil.copytree(
        Path(liqsignals.__file__).parent, tmp_path / "copy" / "liqsignals", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path / "copy"


def closed(package: Path) -> Path:
    """The same, where no cache can be kept."""
    (package / "liqsignals" / "__pycache__").write_text("a file where a folder would be")
    return package


def ask(package: Path, before: str = "", **environment: str) -> tuple[list[float], str, int, str]:
    """What stands, the cache's folder, its hits and what was logged, of a process of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    kept |= {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", "HOME": NOWHERE, **environment}
    run = subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)], env=kept, cwd=package, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    *values, folder, hits = run.stdout.split()
    return [float(v) for v in values], folder, int(hits), run.stderr


def test_an_edited_helper_in_another_file_is_seen(package: Path) -> None:
    plain = [1.0]
    assert ask(package)[0::2] == (plain, 0)
    assert ask(package)[0::2] == (plain, 1)
    helper = package / "liqsignals" / "liqmap" / "kernels" / "shared.py"
    text = helper.read_text()
    assert text.count("    return i\n") == 1
    helper.write_text(text.replace("    return i\n", "    return 3 * i\n"))
    assert ask(package)[0] == [3 * v for v in plain]
    helper.write_text(text)
    values, folder, hits, logged = ask(package)
    assert (values, hits, logged) == (plain, 1, "")
    assert Path(folder).is_relative_to(package / "liqsignals" / "__pycache__")


def test_the_users_cache_folder_where_the_package_cannot_be_written(package: Path, tmp_path: Path) -> None:
    closed(package)
    (tmp_path / "home").mkdir()
    for wanted, environment in (
        (tmp_path / "home" / ".cache", {"HOME": str(tmp_path / "home")}),
        (tmp_path / "xdg", {"XDG_CACHE_HOME": str(tmp_path / "xdg")}),
    ):
        _, folder, _, logged = ask(package, **environment)
        assert Path(folder).is_relative_to(wanted)
        assert logged == ""
        assert ask(package, **environment)[2] == 1


def test_numbas_own_setting_comes_first(package: Path, tmp_path: Path) -> None:
    _, folder, _, logged = ask(package, NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert Path(folder).is_relative_to(tmp_path / "named")
    assert logged == ""
    # One that cannot be written is named, and does not stop anybody.
    _, folder, _, logged = ask(package, NUMBA_CACHE_DIR=NOWHERE)
    assert Path(folder).is_relative_to(package)
    assert logged.count("NUMBA_CACHE_DIR") == 1
    assert NOWHERE in logged


def test_a_temporary_folder_where_neither_package_nor_home_can_be_written(package: Path, tmp_path: Path) -> None:
    closed(package)
    (tmp_path / "tmp").mkdir()
    own = tmp_path / "tmp" / f"liqsignals-{os.getuid()}"
    _, folder, _, logged = ask(package, TMPDIR=str(tmp_path / "tmp"))
    assert Path(folder).is_relative_to(own)
    assert own.stat().st_mode & 0o777 == 0o700
    assert logged.count("Way out: set NUMBA_CACHE_DIR") == 1
    assert str(own) in logged
    assert ask(package, TMPDIR=str(tmp_path / "tmp"))[2] == 1
    # Whoever may write there could have this user run his code.
    own.chmod(0o777)
    values, folder, _, logged = ask(package, TMPDIR=str(tmp_path / "tmp"))
    assert (values, folder) == ([1.0], "None")
    assert logged.count("compiles them again") == 1


def test_no_cache_where_nothing_can_be_written(package: Path) -> None:
    closed(package)
    values, folder, _, logged = ask(package, before=f"tempfile.tempdir = {NOWHERE!r}")
    assert (values, folder) == ([1.0], "None")
    assert logged.count("Way out: set NUMBA_CACHE_DIR") == 1


def test_other_packages_keep_their_cache() -> None:
    """numba's setting is as it was before the kernels were decorated."""
    import numba

    assert (os.environ.get("NUMBA_CACHE_DIR") or "") == numba.config.CACHE_DIR
