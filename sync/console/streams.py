"""Standard output and error as they are given to a program started by others: closed, full, or gone half way.

What is printed tells of the work and is not the work: that nobody can read it changes neither a run nor its exit code.
Output that is the work, such as a dry run's requests, is written to `strict(stream)`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, TextIO

_LAST_STANDARD_NUMBER = 2


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Let everything be printed, whatever the two streams are."""
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr, *before):
            try:
                stream.flush()
            except OSError:  # the interpreter, which tries once more at its end, shall not meet it
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.stdout, sys.stderr = before


def strict(stream: TextIO) -> TextIO:
    """The stream itself, which raises what goes wrong."""
    return getattr(stream, "strict", stream)


class _Lossy(FileIO):
    """A file that loses what it cannot write."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _forgiving(stream: TextIO) -> TextIO:
    """The same stream, without the errors of the system and of a terminal whose language lacks letters of ours."""
    if not isinstance(stream, TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    try:
        file = BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False))
    except OSError:  # it is in memory
        return stream
    lossy = TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
    vars(lossy)["strict"] = stream
    return lossy


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
