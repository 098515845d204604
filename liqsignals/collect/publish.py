"""From raw messages to parquet that others read: parsed, written as parts, and folded into months."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from liqsignals import files, records
from liqsignals.clock import MINUTE, SECOND, iso
from liqsignals.collect import capture, feeds
from liqsignals.collect.capture import Batch, Channel, Notices
from liqsignals.collect.feeds import Feed, Poll, Request
from liqsignals.data import rawlog, store
from liqsignals.records import Records
from liqsignals.sources import ParseError, Series

#: A batch is stamped as readable this much after its writing began; where that is too little it is stamped again.
BOUND = SECOND


def write_part(folder: Path, rows: Records) -> None:
    """Publish a batch of a series: `known_at` becomes an instant by which it can be read, where that is later.

    The instant is chosen before the file is written and checked after; a disk that took longer gets it again, later.
    """
    bound = BOUND
    name = time.time_ns()
    # On a coarse clock, or one that stands, two batches may have one instant.
    while (path := folder / "parts" / f"{name}.parquet").exists():
        name += 1
    while True:
        stamp = time.time_ns() + bound
        stamped = rows.copy()
        stamped["known_at"] = np.maximum(rows["known_at"], stamp)
        store.write(path, stamped)
        if time.time_ns() <= stamp:
            return
        bound *= 4


def fold_parts(extras: Path, before: int) -> None:
    """Move parts written before an instant (ns) into the months' files. Readers see every row all the time."""
    for folder in sorted({path.parent.parent for path in extras.glob("*/*/*/parts/*.parquet")}):
        dtype = records.STORED.get(folder.relative_to(extras).parts[0])
        old = [path for path in sorted((folder / "parts").glob("*.parquet")) if int(path.stem) < before]
        if dtype is None:
            continue
        for i in range(0, len(old), 1000):
            group = old[i : i + 1000]
            store.append(folder, np.concatenate([store.read_file(path, dtype) for path in group]))
            for path in group:
                path.unlink()


@dataclass
class Publication:
    """What of a recorder's messages can be read by others."""

    extras: Path
    streams: Sequence[Feed]
    polls: Sequence[Poll]
    notices: Notices
    #: Rows published, messages that could not be parsed.
    published: int = 0
    unparsed: int = 0
    #: Coins of one contract by provider and symbol, where prints count contracts.
    contracts: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    #: Newest event of each polled series, ns.
    newest: dict[Channel, int] = field(default_factory=dict)
    #: From here on (ns) only the raw files have everything.
    _unpublished: int = 2**63 - 1

    def __post_init__(self) -> None:
        self._by_channel: dict[Channel, Feed | Request] = {(s.provider, s.channel): s for s in self.streams}
        self._by_channel |= {(p.provider, r.channel): r for p in self.polls for r in p.requests}

    def newest_of(self, channel: Channel) -> int | None:
        """The newest event (ns) of a polled series; None where there is none."""
        return self.newest.get(channel)

    def hold_back(self, batch: Batch) -> Batch:
        """Take prints that count contracts out of a batch until the sizes of contracts are here.

        They stay raw, and are published then.
        """
        held: Batch = {}
        for feed in self.streams:
            key = (feed.provider, feed.channel)
            if feed.contracts is None or self.contracts[feed.provider] or not batch.get(key):
                continue
            if (feed.provider, feed.contracts.name) in batch:
                continue
            lines = held[key] = batch.pop(key)
            self.notices.limited(
                f"contracts {feed.provider}",
                f"{feed.provider}: prints wait for the sizes of its contracts; they are kept raw",
                every=600.0,
            )
            if len(lines) > capture.WAITING:
                # Only the raw file has the rest. Nothing from here on counts as published: the next run reads it.
                self._unpublished = min(self._unpublished, lines[0][0])
                del lines[capture.WAITING :]
        return held

    def publish(self, batch: Mapping[Channel, Iterable[tuple[int, bytes]]], upto: int | None) -> None:
        """Parse a batch and write what it holds. `upto`: the instant (ns) before which everything is published then."""
        grouped: dict[Path, list[Records]] = defaultdict(list)
        newest = dict(self.newest)
        # The sizes of contracts are read first: prints need them.
        for key in sorted(batch, key=lambda key: not _has_contracts(self._by_channel.get(key))):
            source = self._by_channel.get(key)
            if source is None:
                continue
            for received_at, raw in batch[key]:
                try:
                    for folder, rows in self._parsed(key[0], source, received_at, raw, newest):
                        grouped[folder].append(rows)
                except Exception as error:
                    # A parser's own mistake, too, must not end a recording, and again each time that it starts.
                    why = str(error) if isinstance(error, ParseError) else f"{type(error).__name__}: {error}"
                    self.unparsed += 1
                    self.notices.limited(
                        f"unparsed {key}",
                        f"{key[0]}: a message was not understood and is only kept raw ({why}). Way out: "
                        "if this goes on, look for a new version of liqsignals",
                        every=600.0,
                    )
        for folder, parts in grouped.items():
            rows = np.concatenate(parts)
            if rows.dtype == records.RATIO:
                rows = feeds.merge_ratios(rows)
            write_part(folder, rows)
            self.published += len(rows)
        self.newest = newest
        if upto is not None:
            with files.replaced(self.extras / "raw" / "published") as path:
                path.write_text(str(min(upto, self._unpublished)))

    def _parsed(
        self, provider: str, source: Feed | Request, received_at: int, raw: bytes, newest: dict[Channel, int]
    ) -> Iterable[tuple[Path, Records]]:
        if isinstance(source, Feed):
            parse = source.parse
            if source.contracts is not None:
                parse = partial(parse, contracts=self.contracts[provider])
            for symbol, rows in parse(raw, received_at).items():
                pair = source.pairs.get(symbol)
                if pair is not None:
                    yield store.series_dir(self.extras, "liquidation", provider, pair, "events"), rows
            return
        found = source.parse(raw, received_at)
        if _has_contracts(source):
            self.contracts[provider].update(found)
        elif source.dtype is not None and len(found):
            key = (provider, source.channel)
            last = newest.get(key, 0)
            fresh = found[found["event_time"] > last] if source.page_ns else found
            newest[key] = max(last, int(found["event_time"][-1]))
            if len(fresh):
                yield store.series_dir(self.extras, source.kind, provider, source.pair, source.period), fresh

    def recover(self) -> None:
        """Publish what an earlier run kept raw and did not publish, and fold what is published into months."""
        for path in self.extras.glob("*/*/*/parts/.*.tmp"):
            path.unlink(missing_ok=True)
        mark = self.extras / "raw" / "published"
        try:
            # A minute more: the clock may have been set back; what was published already is not published twice.
            since = int(mark.read_text()) - MINUTE
        except (FileNotFoundError, ValueError):
            since = 0
        self._recover_newest()
        for feed in self.streams:
            if feed.contracts is not None:
                self._recover_contracts(feed.provider, feed.contracts)
        lines = 0
        batch: Batch = defaultdict(list)
        # What was polled (the sizes of contracts among it) before the prints.
        for key in sorted(self._by_channel, key=lambda key: isinstance(self._by_channel[key], Feed)):
            for path in rawlog.files(self.extras / "raw" / key[0], key[1], since):
                for line in rawlog.read(path):
                    if line[0] >= since:
                        batch[key].append(line)
                        lines += 1
                        if lines % capture.WAITING == 0:
                            self._publish_again(batch)
                            batch.clear()
        self._publish_again(batch)
        fold_parts(self.extras, time.time_ns())
        if lines:
            self.notices.log(
                f"read {lines} messages again that an earlier run had kept since {iso(since)}; none is counted twice"
            )

    def _publish_again(self, batch: Batch) -> None:
        """Publish raw lines of an earlier run, but prints whose contracts have no size yet: a later run does."""
        for lines in self.hold_back(batch).values():
            self._unpublished = min(self._unpublished, lines[0][0])
        self.publish(batch, None)

    def _recover_newest(self) -> None:
        """The newest event of each polled series, from what is published."""
        for poll in self.polls:
            for request in poll.requests:
                if request.page_ns:
                    folder = store.series_dir(self.extras, request.kind, poll.provider, request.pair, request.period)
                    rows = store.read(folder, request.dtype)
                    if len(rows):
                        self.newest[poll.provider, request.channel] = int(rows["event_time"].max())

    def _recover_contracts(self, provider: str, series: Series) -> None:
        """The newest sizes of contracts, however old."""
        for path in reversed(rawlog.files(self.extras / "raw" / provider, series.name)[-2:]):
            for received_at, raw in rawlog.read(path):
                with contextlib.suppress(ParseError):
                    self.contracts[provider] |= series.parser(received_at)(raw, received_at)
            if self.contracts[provider]:
                return


def _has_contracts(source: Feed | Request | None) -> bool:
    return isinstance(source, Request) and source.kind == "contracts"
