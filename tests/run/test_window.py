"""The window of a query that does not look at it: `:since` inside quotes, and `--since` where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.demo.sample_database import sample_database
from sync.run.exit_codes import ExitCode
from tests.harness import PROJECT, World

QUERY = """
SELECT c.*, v.page, v.device, v.browser, v.location, v.event_time
FROM customers c JOIN page_views v ON v.user_id = c.id {}
"""
ALONE = "only inside quotes, where it is plain text and not a time: remove the quotes."
USELESS = "--since has no effect on this query, which uses neither :since nor :since_local"
MODES = [(), ("--limit", "5"), ("--bulk",), ("--full",), ("--dry-run",), ("--verify",), ("--check",)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation on the sample rows."""
    nobody = "http://127.0.0.1:1"  # for --check, which asks the project over a real socket
    query = str(tmp_path / "mine.sql")
    world = World(tmp_path, monkeypatch, QUERY_FILE=query, ITERABLE_API_BASE_URL=nobody, INITIAL_BACKOFF="0")
    source = lambda: sample_database(PROJECT / "schema.sql", PROJECT / "seed.sql")  # noqa: E731
    monkeypatch.setattr(world, "source", source)
    return world


def written(world: World, condition: str) -> World:
    """The installation with this query."""
    (world.folder / "mine.sql").write_text(QUERY.format(condition))
    return world


def nothing_was_done(world: World) -> bool:
    """Whether nothing was sent, and no CSV written."""
    requests = [request for request in world.iterable.requests if request.method == "POST"]
    return not requests and not list(world.folder.glob("*.csv*"))


@pytest.mark.parametrize("condition", ["WHERE v.event_time >= ':since'", 'WHERE v.event_time >= DATE(":since_local")'])
@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_window_in_quotes(
    shop: World, capsys: pytest.CaptureFixture[str], condition: str, mode: tuple[str, ...]
) -> None:
    """The run refuses before it sends anything, and so does all that looks ahead or back; for --check it is wrong."""
    code = written(shop, condition).main(*mode)
    out, errors = capsys.readouterr()

    assert code == (ExitCode.STOPPED if mode == ("--check",) else ExitCode.USAGE)
    assert ALONE in out + errors and nothing_was_done(shop)
    assert (
        mode != ("--check",) or f"WRONG  query        QUERY_FILE has :since{'_local' * ('_local' in condition)} " in out
    )


@pytest.mark.parametrize("when", ["7d", "2026-01-06"])
@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_since_for_a_query_without_a_window(
    shop: World, capsys: pytest.CaptureFixture[str], mode: tuple[str, ...], when: str
) -> None:
    """A flag that would do nothing is wrong usage, whatever else is asked for; a comment is no window."""
    code = written(shop, "-- since :since").main(*mode, "--since", when)
    out, errors = capsys.readouterr()

    assert code == (ExitCode.STOPPED if mode == ("--check",) else ExitCode.USAGE)
    assert USELESS in out + errors and nothing_was_done(shop)


def test_without_the_flag_all_is_well(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has to look at the window: LOOKBACK_DAYS is not refused."""
    shop.environ["LOOKBACK_DAYS"] = "3"

    assert written(shop, "").main() == ExitCode.DONE
    assert capsys.readouterr() == ("", "")


def test_both_at_once(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Who wrote the window into quotes is told that, and not that the flag does nothing."""
    assert written(shop, "WHERE v.event_time >= ':since'").main("--since", "7d") == ExitCode.USAGE

    told = capsys.readouterr().err
    assert ALONE in told and USELESS not in told


@pytest.mark.parametrize("condition", ["WHERE v.event_time >= :since", "WHERE v.event_time >= :since_local"])
def test_since_with_a_window(shop: World, condition: str) -> None:
    """Either placeholder makes the flag count."""
    assert written(shop, condition).main("--since", "3650d") == ExitCode.DONE
    assert shop.iterable.requests
