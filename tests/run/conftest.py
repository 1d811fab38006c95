"""Fixtures of this package's tests."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.run.settings import defaults
from tests.run.settings_of import NEEDED


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A file with the needed settings, to be appended to."""
    path = tmp_path / "my.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in NEEDED.items()))
    return path


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting in the process environment."""
    for name in defaults():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def heard() -> Iterator[None]:
    """Warnings go where main.py sends them, and not to pytest."""
    logging.captureWarnings(False)
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        yield
        logging.captureWarnings(False)
