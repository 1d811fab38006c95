"""Settings read from a file and an environment, as the tests of settings want them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sync.run import settings as config
from sync.run.settings import Settings, SettingsError, load_settings

NEEDED = {"DB_USER": "reader", "DB_NAME": "shop", "ITERABLE_API_KEY": "k3y"}


NO_FILE = Path(os.devnull)


def load(**given: str) -> config.Settings:
    """The settings of this environment alone, with the needed ones given."""
    return load_settings(NO_FILE, NEEDED | given)


def problems(**given: str) -> tuple[str, ...]:
    """What is wrong with this environment."""
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return caught.value.problems


def appended(path: Path, text: str) -> Path:
    """The file with this text at its end."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


def settings_of(**environ: str) -> Settings:
    """The default settings but for these."""
    return load_settings(Path(os.devnull), {"DB_USER": "app", "DB_NAME": "shop", "ITERABLE_API_KEY": "key", **environ})
