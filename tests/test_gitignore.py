"""What people are told to create, and what runs write, is never committed by `git add .`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "TROUBLESHOOTING.md",
    ".env.example",
    *(f"docs/{page.name}" for page in HOME.glob("docs/*.md")),
)
MADE = (
    ".env",
    ".env.orders",
    "orders.env",
    "iterable_sync.sqlite3",
    "iterable_sync.sqlite3-wal",
    "iterable_sync.sqlite3.orders.lock",
    "iterable_sync.sqlite3.v1",
    "iterable_integration.log",
    "iterable_integration.log.1",
    "iterable_sync_orders.prom",
    "query_results_20260113_143122.csv",
    "query_results_orders_20260113_143122_2.csv",
    ".query_results_20260113_143122.csv.abc.part",
    "rejected_rows_20260113_143122.csv",
    "verify_20260113_143122.csv",
    "verify_orders_20260113_143122.csv",
    "demo_output/demo.log",
)


def ignored(names: list[str]) -> set[str]:
    """Those of the names that git leaves out."""
    if not shutil.which("git") or not (HOME / ".git").exists():
        pytest.skip("this is no git checkout")
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, input="\n".join(names), cwd=HOME, capture_output=True, text=True, check=False)
    return set(done.stdout.split())


def test_what_is_made_is_ignored() -> None:
    """Env files, the state with its companions, logs, metrics and exports hold secrets or personal data."""
    assert ignored(list(MADE)) == set(MADE)


def test_env_files_that_the_documents_name() -> None:
    """Whatever env file a document tells people to make is left out, too; the example is not."""
    text = " ".join((HOME / name).read_text("utf-8") for name in DOCUMENTS)
    named = set(re.findall(r"(?<![\w/.-])(?:[\w-]+\.env|\.env(?:\.[a-z]+)?)\b", text)) - {".env.example"}
    assert {".env", "orders.env"} <= named
    assert ignored([*named, ".env.example"]) == named


def test_what_belongs_to_the_project_is_not() -> None:
    """The files of the project are all there for git."""
    files = [str(path.relative_to(HOME)) for path in (HOME / "tests").rglob("*") if path.suffix in (".py", ".sqlite3")]
    assert not [name for name in ignored(["query.sql", "seed.sql", ".env.example", "main.py", *files])]
