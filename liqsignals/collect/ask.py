"""A recorder's polls: requests in a rhythm, at once when it starts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from liqsignals.collect import capture
from liqsignals.collect.capture import Capture, Channel
from liqsignals.collect.feeds import Poll, Request
from liqsignals.collect.fetch import Fetcher, Refused
from liqsignals.errors import InputError


@dataclass
class Poller:
    """One poll.

    `newest`: the newest event (ns) here of a polled series. `publish` is awaited when more waits than WAITING.
    """

    poll: Poll
    get: Fetcher
    capture: Capture
    newest: Callable[[Channel], int | None]
    publish: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Make the poll's requests until cancelled."""
        poll = self.poll
        while True:
            failed = False
            for request in poll.requests:
                for path, params in self._pages(request):
                    try:
                        reply = await self.get.get(path, params)
                    except InputError as error:
                        about = f"poll {poll.provider} {request.channel}"
                        self.capture.notices.limited(about, str(error), every=600.0)
                        # A refusal (not listed, no such parameter) is not over in a minute.
                        failed = failed or not isinstance(error, Refused)
                        break
                    self.capture.take(poll.provider, request.channel, reply.asked_at, reply.body)
                    if self.capture.count >= capture.WAITING:
                        await self.publish()
            now = time.time()
            due = (now - poll.after) // poll.every * poll.every + poll.every + poll.after
            await asyncio.sleep(min(due - now, 60.0) if failed else due - now)

    def _pages(self, request: Request) -> Iterable[tuple[str, Mapping[str, str | int]]]:
        """Pages to request: those since the newest stored row, one where there is none."""
        now = time.time_ns()
        if not request.page_ns:
            return [request.ask(now, now)]
        newest = self.newest((self.poll.provider, request.channel))
        start = now - request.page_ns if newest is None else newest
        if request.reach_ns is not None:
            start = max(start, now - request.reach_ns)
        return [request.ask(a, min(a + request.page_ns, now)) for a in range(start, now, request.page_ns)]
