"""Build step: the strategies and their configurations, which stand at the top level for freqtrade's sake, go into the wheel.

All else is in pyproject.toml. `liqsignals init` and `liqsignals demo` find them: liqsignals/replay/starter.py.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
STRATEGIES = ("SqueezeMomentum.py", "RejectionFade.py", "LiqSignalsFreqAI.py")
CONFIGS = ("config.json", "config.freqai.json")


class BuildWithStarter(build_py):
    """Copies them into the package `liqsignals` as data; an editable install uses the checkout's own."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            starter = Path(self.build_lib) / "liqsignals" / "starter"
            self.mkpath(str(starter / "strategies"))
            for name in CONFIGS:
                self.copy_file(str(ROOT / name), str(starter / name))
            for name in STRATEGIES:
                self.copy_file(str(ROOT / "user_data" / "strategies" / name), str(starter / "strategies" / name))


setup(cmdclass={"build_py": BuildWithStarter})
