"""Starts freqtrade by a fork of a process that has imported it: many starts of an unmodified bot, without the imports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_SERVE = """
import json, os, signal, sys
import freqtrade.main, freqtrade.freqtradebot, freqtrade.worker, freqtrade.commands, ccxt.pro, talib.abstract
import freqtrade.rpc.api_server, freqtrade.rpc.api_server.webserver, freqtrade.exchange, uvicorn, sqlalchemy

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, reap)
print("ready", flush=True)
for line in sys.stdin:
    words, console = json.loads(line)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2), os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["freqtrade", *words]
        freqtrade.main.main(words)
        os._exit(0)
    print(pid, flush=True)
"""


class Forked:
    """A started process, as much of subprocess.Popen as the driver of a bot uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        try:
            return -1 if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" else None
        except (FileNotFoundError, ProcessLookupError):
            return -1

    def wait(self) -> None:
        while self.poll() is None:
            time.sleep(0.002)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class Server:
    """The process that has imported freqtrade, and forks."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self, command: list[str], console: Path) -> Any:
        """Start `freqtrade ARGUMENTS...`; its output goes to `console`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command[1:], str(console)]) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
