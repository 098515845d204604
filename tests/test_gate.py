"""The gate before a bot's loops lets through what it is asked to, once each, and never more."""

import socket
import threading
from contextlib import suppress

import pytest

from liqsignals.replay.gate import Gate

#: The shorter a socket's buffer, the sooner what it has sent must leave the gate: a queue may have 512 places, and a
#: socket of the usual size holds half of them.
BUFFERS = (4096, 212_992)


class Bot(threading.Thread):
    """Sends a message before each loop, as freqtrade does, and counts those that have passed."""

    def __init__(self, name: str, loops: int, buffer: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self._socket.connect("\0" + name[1:])
        self._loops = loops
        self.passed = 0
        self.turn = threading.Semaphore(0)

    def run(self) -> None:
        for _ in range(self._loops):
            with suppress(OSError):  # the gate is open
                self._socket.sendall(b"WATCHDOG=1\nSTATUS=State: RUNNING.")
            self.passed += 1
            self.turn.release()
        self._socket.close()


def full(gate: Gate) -> bool:
    """Whether nothing more passes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.connect("\0" + gate.name[1:])
        try:
            other.send(b"x")
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("early", [0, 1, 3])
def test_a_bot_passes_once_for_each_time_it_is_let(buffer: int, early: int) -> None:
    """`early`: times that it is let through before it comes."""
    gate = Gate()
    gate.shut()
    for _ in range(early):
        gate.let()
    bot = Bot(gate.name, 200, buffer)
    bot.start()
    # The first message says that it is ready, before its loops.
    for _ in range(1 + early):
        assert bot.turn.acquire(timeout=60)
    for loops in range(1 + early, 200):
        assert full(gate)
        assert bot.passed == loops
        gate.let()
        assert bot.turn.acquire(timeout=60)
    bot.join(60)
    gate.open()


def test_an_open_gate_holds_nobody() -> None:
    gate = Gate()
    gate.let()
    gate.shut()
    bot = Bot(gate.name, 50, BUFFERS[1])
    bot.start()
    assert bot.turn.acquire(timeout=60)
    gate.open()
    bot.join(60)
    assert bot.passed == 50
    gate.shut()
    assert not full(gate), "a bot that is started again is ready first"
    assert full(gate)
    gate.open()
