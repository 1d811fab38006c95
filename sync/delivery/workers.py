"""The workers: threads that take turns, and know nothing of the state."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from sync.delivery.stop import Stop
from sync.delivery.work import Answer, Ended, Gate, Turn, Why, Work, all_with
from sync.rows.identity import log_field
from sync.state.exchange import Outcome, PayloadResult

logger = logging.getLogger("delivery")

TICK = 0.1
"""Seconds to wait for an answer before the loop looks at the clock again."""

_MORE_THREADS = "raise the limit (ulimit -u, TasksMax=, a container's pids limit, its memory), or lower WORKERS"


_BROKEN: Final = PayloadResult(Outcome.FAILED, "an unexpected error; the log has the traceback", alone=False)


class NoThreadError(Exception):
    """The system starts no thread for this process; one sentence that says what to do."""


class Left(NamedTuple):
    """What is left of a piece of work, and why its worker returned it."""

    why: Why
    works: Sequence[Work] = ()


class Workers:
    """Threads that call `take_turn`; `at_work` is the number of pieces of work that they have not returned yet."""

    def __init__(self, take_turn: Callable[[Turn], None], gate: Gate, stop: Stop) -> None:
        self._take_turn, self._gate, self._stop = take_turn, gate, stop
        self._count = 0
        self._todo: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        # Not a SimpleQueue: its get(timeout) waits for ever when a signal comes as the timeout ends (CPython 3.11).
        # Not a Queue: its locks cost as much as the rest of the loop. `_news` is free when something may be said.
        self._said: deque[tuple[Work, Answer | Left]] = deque()
        self._news = threading.Lock()
        self.at_work = 0

    def start(self, count: int) -> None:
        """Start the threads; daemons, since an answer that hangs must not keep an interrupted run from ending.

        If the system allows fewer, the run uses those. Raises NoThreadError if there are none.
        """
        try:
            for number in range(count):
                threading.Thread(target=self._work, daemon=True, name=f"worker-{number}").start()
                self._count += 1
        except RuntimeError as error:
            told = f"Only {self._count} of {count} workers can be started ({error}): {_MORE_THREADS}"
            if not self._count:
                raise NoThreadError(told) from error
            logger.warning(told)

    def end(self) -> None:
        """Let every thread end once it is idle."""
        for _ in range(self._count):
            self._todo.put(None)

    @property
    def have_room(self) -> bool:
        """Whether more work may be handed out: a piece for each thread, and a few more, so that no thread is idle."""
        return self.at_work < self._count + max(1, self._count // 4)

    def give(self, work: Work) -> None:
        """Give a piece of work to whoever is free next."""
        self.at_work += 1
        self._todo.put(work)

    def withdraw(self) -> Iterator[Work]:
        """Take back the work that nobody has begun yet."""
        with suppress(queue.Empty):
            while work := self._todo.get_nowait():
                self.at_work -= 1
                yield work

    def listen(self) -> Iterator[tuple[Work, Answer | Left]]:
        """What the workers have reported; waits up to a tick for the first report."""
        if not self._said:
            self._news.acquire(timeout=TICK)
        for _ in range(len(self._said)):
            work, said = self._said.popleft()
            self.at_work -= isinstance(said, Left)
            yield work, said

    def _say(self, work: Work, said: Answer | Left) -> None:
        self._said.append((work, said))
        with suppress(RuntimeError):  # it is free already
            self._news.release()

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            self._say(work, self._turn_of(work))

    def _turn_of(self, work: Work) -> Left:
        turn = Turn(work, self._gate, partial(self._say, work))
        try:
            self._take_turn(turn)
        except Ended as ended:
            return Left(ended.why, tuple(turn.left))
        except Exception as error:  # a bug may cost a piece of work its outcome, not the run its end
            who = log_field(work.users[0].identity)
            logger.exception("Unexpected error while sending %s and %d more", who, len(work.users) - 1)
            self._stop.set(f"unexpected {type(error).__name__}; the log has the traceback")
            users = [user for some in turn.left for user in some.users]
            self._say(work, Answer(None, [all_with(user, _BROKEN) for user in users], attempted=users))
        return Left(Why.DONE)
