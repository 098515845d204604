"""A recorder that is killed loses at most a second and tears nothing; `make kill` does it 200 times."""

import subprocess
import sys
from pathlib import Path

import feed
import pytest
from kill_record import kill_many

pytestmark = pytest.mark.slow


def test_a_few_kills(tmp_path: Path) -> None:
    measured = kill_many(tmp_path, kills=4, seed=7)
    assert measured["in capture"] >= 2


def test_the_command_ends_when_told_and_says_what_it_did(tmp_path: Path) -> None:
    import asyncio
    import time

    (tmp_path / "binance" / "futures").mkdir(parents=True)

    async def handler(socket) -> None:
        await socket.send(feed.binance(time.time_ns() // 10**6))
        process.terminate()
        await socket.wait_closed()

    async def main() -> tuple[int, str]:
        nonlocal process
        async with feed.websocket(handler) as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "liqsignals", "record", "-d", str(tmp_path / "binance"), "--pairs", feed.PAIR,
                "--exchanges", "binance", "--prints-only", "--url", f"binance-stream={url}",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            return process.returncode or 0, said.decode()

    process = None
    code, said = asyncio.run(main())
    assert code == 0, said
    assert "stop with Ctrl-C" in said
    assert "stopped: 1 messages taken, 1 rows published, 0 not understood" in said
    assert len(feed.prints(tmp_path / "binance" / "liqsignals")) == 1
