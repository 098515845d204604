"""What ships beside the package: in the wheel, and by `liqsignals init` in a user_data folder."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from liqsignals import __version__
from liqsignals.collect import freqtrade_command
from liqsignals.errors import InputError
from liqsignals.replay import starter

ROOT = Path(__file__).parents[1]


def test_init_never_overwrites(tmp_path: Path) -> None:
    userdir = tmp_path / "user_data"
    (userdir / "strategies").mkdir(parents=True)
    own = userdir / "strategies" / "RejectionFade.py"
    own.write_text("my own")
    written, kept = starter.init(userdir)
    assert kept == [own]
    assert own.read_text() == "my own"
    names = ("config.json", "config.freqai.json")
    others = {f"strategies/{name}.py" for name in ("SqueezeMomentum", "LiqSignalsFreqAI")}
    assert set(written) == {userdir / name for name in (*names, *others)}
    assert all((userdir / name).read_bytes() == (ROOT / name).read_bytes() for name in names)
    before = {path: path.stat().st_mtime_ns for path in written}
    assert starter.init(userdir)[0] == []
    assert before == {path: path.stat().st_mtime_ns for path in written}


def test_init_says_that_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        starter.init(tmp_path / "file" / "user_data")


def test_the_licence_and_the_changelog_fit_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "GPL-3.0-or-later"
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text()
    assert f"\n## {__version__}, 20" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_wheel_carries_strategies_and_configuration(tmp_path: Path) -> None:
    """The build step itself, without pip's isolated environment, which needs an index."""
    pytest.importorskip("setuptools", minversion="77")
    done = subprocess.run(
        [
            sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path),
            "build_py", "--build-lib", str(tmp_path / "lib"),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = tmp_path / "lib" / "liqsignals" / "starter"
    found = {str(path.relative_to(built)): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    assert found == {
        **{name: (ROOT / name).read_bytes() for name in starter.CONFIGS},
        **{
            f"strategies/{name}.py": (ROOT / "user_data" / "strategies" / f"{name}.py").read_bytes()
            for name in (*starter.STRATEGIES, starter.FREQAI)
        },
    }


def test_the_source_archive_and_the_image_carry_them_too() -> None:
    """A wheel is built of them there."""
    listed = (ROOT / "MANIFEST.in").read_text().split()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text().split()
    for name in starter.CONFIGS:
        assert name in listed
        assert name in dockerfile
    assert {f"{name}.py" for name in (*starter.STRATEGIES, starter.FREQAI)} <= set(listed)


def test_freqais_configuration_adds_to_the_one_beside_it(tmp_path: Path) -> None:
    starter.init(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["exchange"]["pair_whitelist"] = ["SOL/USDT:USDT"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = freqtrade_command.configuration([tmp_path / "config.freqai.json"])
    assert found.problems == ()
    assert found.merged["freqai"]["enabled"]
    assert found.merged["exchange"]["pair_whitelist"] == ["SOL/USDT:USDT"]
    assert found.merged["stake_amount"] == 500  # its own word counts more
