"""The workers: threads that make the requests of the pieces they are handed, and know nothing of the state."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from sync.delivery.outcome import Reply, with_profile_result
from sync.delivery.stop import Stop
from sync.delivery.watch import Piece
from sync.rows.identity import log_field
from sync.state.owed import Outcome, PayloadResult

logger = logging.getLogger("delivery")

TICK = 0.1
"""Seconds to wait for a reply before the dispatcher looks at the clock again."""


_MORE_THREADS = "raise the limit (ulimit -u, TasksMax=, a container's pids limit, its memory), or lower WORKERS"


class NoThreadError(Exception):
    """The system starts no thread for this process; one sentence that says what to do."""


class Sender(Protocol):
    """Makes the requests of a piece; called from many threads.

    A piece has at most `batch_size` users; `events_in_batch` is how many of their events are in memory.
    """

    batch_size: int
    events_in_batch: int

    def send(self, piece: Piece) -> Reply:
        """Send what can be sent of the piece now."""
        ...


class Workers:
    """`count` threads; `at_work` is how many pieces they were handed whose replies were not taken yet."""

    def __init__(self, sender: Sender, stop: Stop, count: int) -> None:
        self._sender, self._stop, self._count = sender, stop, count
        self._todo: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        # Not a SimpleQueue: its get(timeout) waits for ever when a signal comes as the timeout ends (CPython 3.11).
        self._done: queue.Queue[tuple[Piece, Reply]] = queue.Queue()
        self.at_work = 0

    def start(self) -> None:
        """Start the threads; daemons, since an answer that hangs must not keep an interrupted run from ending.

        Where the system allows fewer, those have to do; raises NoThreadError when there is none.
        """
        for number in range(self._count):
            try:
                threading.Thread(target=self._work, daemon=True, name=f"worker-{number}").start()
            except RuntimeError as error:
                self._make_do_with(number, error)
                return

    def _make_do_with(self, started: int, error: RuntimeError) -> None:
        """Work with the threads that could be started, all but one: a signal is heard by a thread of its own."""
        if not started:
            raise NoThreadError(f"no thread can be started ({error}): {_MORE_THREADS}") from error
        if started > 1:
            self._todo.put(None)
        wanted, self._count = self._count, max(1, started - 1)
        logger.warning("Only %d of %d workers can be started (%s): %s", self._count, wanted, error, _MORE_THREADS)

    def end(self) -> None:
        """Let every thread end once it is idle."""
        for _ in range(self._count):
            self._todo.put(None)

    @property
    def have_room(self) -> bool:
        """Whether another piece may be handed out: each has one to work on, and a few wait, so that nobody idles."""
        return self.at_work < self._count + max(1, self._count // 4)

    def hand_out(self, piece: Piece) -> None:
        """Give a piece to whoever is free next."""
        self.at_work += 1
        self._todo.put(piece)

    def replies(self) -> Iterator[tuple[Piece, Reply]]:
        """The replies that are there; waits a tick for the first of them."""
        with suppress(queue.Empty):
            yield self._take(TICK)
            for _ in range(self._count):
                yield self._take(0)

    def _take(self, seconds: float) -> tuple[Piece, Reply]:
        piece, reply = self._done.get(timeout=seconds) if seconds else self._done.get_nowait()
        self.at_work -= reply.follows is None
        return piece, reply

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            following: Piece | None = piece
            while following:
                reply = self._send(following)
                piece, following = following, reply.take_following(following)
                self._done.put((piece, reply))

    def _send(self, piece: Piece) -> Reply:
        try:
            return self._sender.send(piece)
        except Exception as error:  # a bug must cost one piece its outcome and not the run its end
            who = log_field(piece.users[0].identity)
            logger.exception("Unexpected error while sending %s and %d more", who, len(piece.users) - 1)
            self._stop.set(f"unexpected {type(error).__name__}; the log has the traceback")
            return _in_doubt(piece)


def _in_doubt(piece: Piece) -> Reply:
    """Nobody knows what of the piece was sent: all of it is owed, and nothing counts as known."""
    broken = PayloadResult(Outcome.FAILED, "an unexpected error; the log has the traceback", alone=False)
    return Reply(outcomes=[with_profile_result(user, broken) for user in piece.users], attempted=list(piece.users))
