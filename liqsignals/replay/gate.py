"""A gate before each of a bot's loops: it begins one where it is let through, and waits there meanwhile (Linux).

freqtrade reports each loop that it begins to systemd (`internals.sd_notify`): a datagram to the socket NOTIFY_SOCKET,
for whose place in the socket's queue it waits. The gate is that socket, and keeps its queue full.
"""

import secrets
import socket
from contextlib import suppress

#: What fills the queue; freqtrade's messages are others.
_FILLER = b"liqsignals"
_LONGEST = 256


class Gate:
    """The gate of one bot at a time, open until it is shut."""

    def __init__(self) -> None:
        #: The bot's NOTIFY_SOCKET (Linux's abstract namespace: no file).
        self.name = f"@liqsignals-{secrets.token_hex(8)}"
        self._queue: socket.socket | None = None
        self._places = 0
        #: Places that are the bot's: with a message of it, or free.
        self._given = 0

    def shut(self) -> None:
        """Before a bot is started: only its message that it is ready passes, which comes before its first loop."""
        self.open()
        self._queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._queue.bind(self._address)
        self._queue.setblocking(False)
        self._places = 0
        while self._fill():
            self._places += 1
        self._queue.recv(_LONGEST)
        self._given = 1

    def let(self) -> None:
        """Let one message more pass: the bot begins a loop, at once where it waits here."""
        if self._queue is None:
            return
        # The bot's own messages give their places first, all but one to fillers: its socket may send fewer than the queue
        # has places for.
        with suppress(BlockingIOError):
            for _ in range(self._places):
                if self._queue.recv(_LONGEST) != _FILLER:
                    self._given -= 1
                    if not self._given:
                        break
                if not self._fill():  # the bot has just taken this place
                    break
            else:
                self._queue.recv(_LONGEST)
        self._given += 1

    def open(self) -> None:
        """Let all pass, now and later."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    @property
    def _address(self) -> str:
        return "\0" + self.name[1:]

    def _fill(self) -> bool:
        """Take a place of the queue; whether there was one."""
        # Each from a socket of its own, for one may not fill the queue.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._address)
            try:
                sender.send(_FILLER)
            except BlockingIOError:
                return False
            return True
