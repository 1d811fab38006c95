"""Standard output and error as they are given to a program started by others: closed, full, or gone half way.

What is printed tells of the work and is not the work: that nobody can read it changes neither a run nor its exit code.
Output that is the work, such as a dry run's requests, is written to `strict(stream)`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

_LAST_STANDARD_NUMBER = 2


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Let everything be printed, whatever the two streams are; at the end what is still held back is given out."""
    before = sys.stdout, sys.stderr
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal's language may lack letters of ours
    sys.stdout, sys.stderr = streams = _forgiving(sys.stdout), _forgiving(sys.stderr)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def strict(stream: TextIO) -> TextIO:
    """The stream itself, which raises what goes wrong."""
    return stream.stream if isinstance(stream, _Forgiving) else stream


def _forgiving(stream: TextIO) -> TextIO:
    return cast("TextIO", _Forgiving(stream))


def _abandon(stream: TextIO) -> None:
    """Let nothing more be written to a stream that failed, by the interpreter at its end neither."""
    with suppress(OSError, ValueError):  # one without a file descriptor has nothing to give out later
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


class _Forgiving:
    """A text stream that loses what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            _abandon(self.stream)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            _abandon(self.stream)


def _open_what_is_closed() -> None:
    """Put something behind the numbers 0 to 2, else the next file that is opened gets one of them, and what is printed.

    Python has None for a stream that was closed before it started.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_NUMBER:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
