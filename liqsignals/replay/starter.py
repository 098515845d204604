"""The strategies and their configurations that ship: from the wheel's data, or from the checkout of an editable install."""

from dataclasses import dataclass
from pathlib import Path

import liqsignals
from liqsignals.errors import InputError
from liqsignals.files import replaced


@dataclass(frozen=True)
class Starter:
    """Where they stand."""

    #: FreqAI's `config.freqai.json` stands beside it.
    config: Path
    #: A folder for freqtrade's --strategy-path.
    strategies: Path


def shipped() -> Starter:
    """What ships with this installation. Raises InputError where it is incomplete."""
    package = Path(liqsignals.__file__).parent
    for config, strategies in (
        (package / "starter" / "config.json", package / "starter" / "strategies"),
        (package.parent / "config.json", package.parent / "user_data" / "strategies"),
    ):
        if config.is_file() and strategies.is_dir():
            return Starter(config, strategies)
    raise InputError(
        f"the strategies and config.json are not in {package}", "install liqsignals again, or work in its checkout"
    )


#: The strategies that ship and are judged; a checkout's folder may hold a user's own beside them.
STRATEGIES = ("SqueezeMomentum", "RejectionFade")
#: The example for FreqAI, which adds its own settings to config.json.
FREQAI = "LiqSignalsFreqAI"
CONFIGS = ("config.json", "config.freqai.json")


def init(userdir: Path) -> tuple[list[Path], list[Path]]:
    """Put the configurations and `strategies/` into a user_data folder: files written, and files that stood there and are
    kept.

    Raises InputError where the folder cannot be written.
    """
    source = shipped()
    files = {userdir / name: source.config.with_name(name) for name in CONFIGS}
    files |= {userdir / "strategies" / f"{n}.py": source.strategies / f"{n}.py" for n in (*STRATEGIES, FREQAI)}
    written: list[Path] = []
    kept: list[Path] = []
    for target, origin in files.items():
        if target.exists():
            kept.append(target)
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replaced(target) as temporary:
                temporary.write_bytes(origin.read_bytes())
        except OSError as error:
            raise InputError(
                f"--userdir {userdir}: cannot be written ({error.strerror})", "choose another folder"
            ) from error
        written.append(target)
    return written, kept
