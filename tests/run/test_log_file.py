"""The file of the log where others use it too: other runs, a full disk, the end of the run."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

import pytest

from sync.run import log as logs
from sync.run.log import LineFormatter, PrivateFile


def record(message: str) -> logging.LogRecord:
    """An event."""
    return logging.LogRecord("main", logging.INFO, __file__, 1, message, (), None)


def test_only_the_log_itself_is_rotated(tmp_path: Path) -> None:
    """Of two runs that start together one rotates the log; the other has opened what is `.1` by now."""
    path = tmp_path / "run.log"
    path.write_bytes(b"x" * (logs.ROTATE_OVER + 1))
    first, second = PrivateFile(path), PrivateFile(path)
    assert first.stream
    fcntl.flock(second.stream, fcntl.LOCK_UN)  # type: ignore[arg-type]
    first.rotate_when_large()
    fcntl.flock(first.stream, fcntl.LOCK_UN)
    second.rotate_when_large()
    for file in (first, second):
        file.close()

    assert sorted(each.name for each in tmp_path.iterdir()) == ["run.log", "run.log.1"]


@pytest.mark.parametrize("name", ["/proc/self/fd/{}", "/dev/fd/{}"])
def test_what_a_device_leads_to_is_not_rotated(tmp_path: Path, name: str) -> None:
    """Standard output may be a file of somebody else's."""
    path = tmp_path / "out.log"
    path.write_bytes(b"x" * (logs.ROTATE_OVER + 1))
    with path.open("ab") as output:
        file = PrivateFile(Path(name.format(output.fileno())))
        file.rotate_when_large()
        file.close()

    assert [each.name for each in tmp_path.iterdir()] == ["out.log"]


class SmallDisk:
    """Takes a part of one line, and then fails until there is room again."""

    def __init__(self) -> None:
        self.written, self.room = b"", [10, 0]

    def write(self, data: bytes) -> int:
        """As a file on a disk that is full."""
        taken = self.room.pop(0) if self.room else len(data)
        if not taken:
            raise OSError(28, "No space left on device")
        self.written += data[:taken]
        return taken


def test_a_line_that_was_cut_ends_before_the_next(tmp_path: Path) -> None:
    """After a full disk the next line has a line of its own."""
    file = PrivateFile(tmp_path / "run.log")
    file.setFormatter(LineFormatter(""))
    disk, real = SmallDisk(), file.stream
    file.stream = disk  # type: ignore[assignment]
    file.handle(record("cut"))
    file.handle(record("whole"))
    file.stream = real
    file.close()

    cut, whole, end = disk.written.split(b"\n")
    assert (len(cut), whole.endswith(b"whole"), end) == (10, True, b"")
    assert "No space left" in file.failure


def test_a_line_while_the_log_is_closed_is_no_failure(tmp_path: Path) -> None:
    """A worker whose answer hung until the end of the run may speak at any moment."""
    file = PrivateFile(tmp_path / "run.log")

    class Closed:
        def write(self, _line: bytes) -> int:
            file.close()
            raise ValueError("I/O operation on closed file")

        def flush(self) -> None: ...

        def close(self) -> None: ...

    file.setFormatter(LineFormatter(""))
    real, file.stream = file.stream, Closed()  # type: ignore[assignment]
    file.handle(record("late"))
    assert real
    real.close()
    assert file.failure == ""
