"""The exit codes: a promise to cron, to scripts and to the person on call."""

from __future__ import annotations

import enum


@enum.unique
class ExitCode(enum.IntEnum):
    """Each code with the sentence that the README and the design give it."""

    sentence: str

    def __new__(cls, value: int, sentence: str) -> ExitCode:
        """Make a member of a number and its sentence."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    DONE = 0, "done: everything pending was delivered (nothing to do is also done)"
    STOPPED = (
        1,
        (
            "the run could not be done or was stopped (database, credentials, API down, disk), or nothing was accepted "
            "and more than one user failed"
        ),
    )
    USAGE = 2, "wrong usage or settings, columns that the query does not give (every problem named)"
    INCOMPLETE = (
        3,
        ("finished, but some users or events were newly rejected or failed, or a mass exit was held back"),
    )
    LOCKED = 4, "another run of this sync holds its lock; runs of different syncs go side by side"
    HUNG_UP = 129, "interrupted by SIGHUP (the terminal is gone): what was in flight was recorded, the rest is pending"
    INTERRUPTED = 130, "interrupted by SIGINT (Ctrl-C): what was in flight was recorded, the rest is pending"
    TERMINATED = 143, "interrupted by SIGTERM: what was in flight was recorded, the rest is pending"
