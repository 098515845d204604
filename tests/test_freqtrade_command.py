"""Which freqtrade is run: this Python's own, wherever it was installed, and no other one."""

import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT

from liqsignals.collect import freqtrade_command
from liqsignals.errors import InputError

#: The Python that this environment was made with: it has a user site, as freqtrade's image has.
BASE = Path(getattr(sys, "_base_executable", sys.executable))


def script(path: Path, first: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first}\nimport sys, liqsignals\nprint(liqsignals.__file__, *sys.argv[1:])\n")
    path.chmod(0o755)
    return path


def test_what_pip_installs_for_a_user_is_found_and_runs(tmp_path: Path) -> None:
    """The layout of freqtrade's image: Python in one folder, both packages and their scripts in the user's."""
    scripts = subprocess.check_output(
        [BASE, "-c", "import sysconfig; print(sysconfig.get_path('scripts'))"], text=True
    ).strip()
    if (Path(scripts) / "freqtrade").exists():
        pytest.skip("the tests run with a Python that has freqtrade in its own folder")
    packages = tmp_path / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "both.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    own = script(tmp_path / "bin" / "freqtrade", f"#!{BASE}")
    # Not on the PATH: a unit or a cron job has none.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"PYTHONUSERBASE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    program = (
        "from liqsignals.collect.freqtrade_command import executable, run\n"
        "print(executable()); print(run([executable(), 'show-config']).log, end='')"
    )
    done = subprocess.run(
        [BASE, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(own), f"{ROOT / 'liqsignals' / '__init__.py'} show-config"]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python without freqtrade in its own folders; its user's has one."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme="own": str(tmp_path / scheme))
    script(tmp_path / sysconfig.get_preferred_scheme("user") / "freqtrade", f"#!{sys.executable}")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    return tmp_path


def test_its_own_folder_counts_more_than_the_users(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    assert Path(freqtrade_command.executable()).parent.name == sysconfig.get_preferred_scheme("user")
    own = script(nowhere / "own" / "freqtrade", f"#!{sys.executable}")
    assert freqtrade_command.executable() == str(own)


@pytest.mark.parametrize("first", ["#!{}", "#!{} -E", "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''"])
def test_on_the_path_only_this_pythons_is_taken(nowhere: Path, first: str) -> None:
    """An environment does not see the user's packages, so that its user's freqtrade is none of its own."""
    with pytest.raises(
        InputError, match=r"^freqtrade is not installed for \S+/python[\d.]*\. .*pip install freqtrade=="
    ):
        freqtrade_command.executable()
    found = script(nowhere / "path" / "freqtrade", first.format(sys.executable))
    assert freqtrade_command.executable() == str(found)
    # An environment's python may be a link to the one that made it: the same file, not the same packages.
    other = nowhere / "other's folder" / "bin" / "python3"
    other.parent.mkdir(parents=True)
    other.symlink_to(sys.executable)
    script(found, first.format(other))
    with pytest.raises(InputError, match="path/freqtrade belongs to another Python"):
        freqtrade_command.executable()
    found.write_bytes(b"\x7fELF")
    with pytest.raises(InputError, match="belongs to another Python"):
        freqtrade_command.executable()
