"""The documents cannot lie: their tables, commands and sentences are compared with the program."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from iterable_client import export_results_to_csv
from main import main
from sync.api.network import CERTIFICATE_VARIABLES
from sync.console.options import VERSION, _parser
from sync.database.statement import parse
from sync.demo import demonstration as demo
from sync.rows.mapping import mapping_problems
from sync.rows.payloads import Event, Payload, PayloadBuilder
from sync.rows.source import Column, Kind
from sync.run.exit_codes import ExitCode
from sync.run.settings import defaults, load_settings, read_settings
from sync.run.summary import Summary
from tests.documents import HOME, PAGES, document, literals, program_says, spans, table

PLACEHOLDERS = {"run=ID": "run=", "user@example.com": "email="}
"""What a reader replaces in a grep, and the text of the program that it finds."""


# -- settings ------------------------------------------------------------------------------------------------------


def test_settings_table() -> None:
    """The page names every setting once, with its default; a setting without one has prose or nothing there."""
    rows = table(document("docs/settings.md"), "setting", "default", "meaning")
    told = {}
    for name, default, _ in rows:
        (setting,) = spans(name)
        assert setting not in told, f"{setting} is there twice"
        told[setting] = default[1:-1] if re.fullmatch(r"`[^`]+`", default) else "" if not spans(default) else default
    assert told == defaults()


def test_ranges_of_settings() -> None:
    """What the page gives as the range of a setting is accepted, and nothing beyond it."""
    ranges = re.findall(r"^\| `(\w+)` .* \(([\d.,]+) to ([\d.,]+)\) \|$", document("docs/settings.md"), re.MULTILINE)
    assert len(ranges) == 13
    for name, least, most in ranges:
        low, high = (float(number.replace(",", "")) for number in (least, most))
        for value, fits in ((low, True), (high, True), (low - 0.0001, False), (high + 1, False)):
            _, problems = read_settings(Path("/dev/null"), {name: f"{value:.10g}"})
            assert fits is not any(problem.startswith(name) for problem in problems), (name, value)


def test_keys_of_the_summary() -> None:
    """The page names every key of `--json`."""
    rows = table(document("docs/metrics.md"), "key", "value")
    assert {key for keys, _ in rows for key in spans(keys)} == set(Summary("id").as_json())


def test_env_example() -> None:
    """`.env.example` holds every setting once, with its default."""
    lines = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", document(".env.example"), re.MULTILINE)
    assert len(lines) == len(dict(lines))
    assert dict(lines) == defaults()


def test_env_example_can_be_copied() -> None:
    """What is commented out is a default, so the copy behaves as the program does without it."""
    given = dict.fromkeys(("SYNC_NAME", "DB_USER", "DB_NAME", "ITERABLE_API_KEY"), "x")
    assert load_settings(HOME / ".env.example", given) == load_settings(Path("/dev/null"), given)


# -- command line and exit codes -----------------------------------------------------------------------------------


def usage(action: argparse.Action) -> str:
    """An option as the README writes it: `--since WHEN`, `--history [N]`."""
    option = max(action.option_strings, key=len)
    if action.nargs == 0:
        return option
    return f"{option} [{action.metavar}]" if action.nargs == "?" else f"{option} {action.metavar}"


def test_options_table() -> None:
    """The README names every option with its argument."""
    rows = table(document("README.md"), "option", "does")
    told = [span for option, _ in rows for span in spans(option) if span.startswith("--")]
    assert sorted(told) == sorted(usage(action) for action in _parser()._actions)


def test_exit_codes_table() -> None:
    """The README names every exit code with the sentence that the program has for it."""
    classes = (node for node in ast.parse(document("sync/run/exit_codes.py")).body if isinstance(node, ast.ClassDef))
    _, *body = next(node.body for node in classes if node.name == ExitCode.__name__)
    members = [ast.unparse(node.value) for node in body if isinstance(node, ast.Assign)]
    sentences = [" ".join(ast.literal_eval(node.value).split()) for node in body if isinstance(node, ast.Expr)]
    rows = table(document("README.md"), "code", "meaning")
    assert members == [str(int(code)) for code in ExitCode]
    assert [(code.strip("`"), meaning) for code, meaning in rows] == list(zip(members, sentences, strict=True))


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name: str) -> None:
    """Every `make` target and every option of main.py that a document names exists."""
    text = document(name)
    targets = set(re.findall(r"^([a-z]+):.*##", document("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", text)) <= targets
    known = {option for action in _parser()._actions for option in action.option_strings}
    assert set(re.findall(r"(?:main\.py |`)(--[a-z-]+)", text)) <= known


@pytest.mark.parametrize("name", PAGES)
def test_settings_exist(name: str) -> None:
    """Every word in capitals that looks like a setting is one, or a variable of the environment that others read."""
    words = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", document(name)))
    assert words - {"NO_COLOR", "TEST_MYSQLD", "NO_PROXY", *CERTIFICATE_VARIABLES} <= set(defaults())


# -- the log -------------------------------------------------------------------------------------------------------


class Grep(NamedTuple):
    """A row of the README's table of greps."""

    command: list[str]
    patterns: list[str]
    in_the_demo: str


def greps() -> Iterator[Grep]:
    """The rows of the README's table of greps."""
    for command, _, in_the_demo in table(document("README.md"), "grep", "finds", "in the demo"):
        (text,) = spans(command)
        assert "|" not in text, f"{text}: a | reads differently in the source and on the page; write -e ... -e ..."
        words = shlex.split(text)
        patterns = [word for word in words[1:] if not word.startswith("-")]
        assert words[0] == "grep" and patterns, text
        yield Grep(words, patterns, in_the_demo)


@pytest.fixture(scope="module")
def demo_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a demo run that this test made."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "OUTPUT", folder)
        assert main(["--demo", "--json"]) == ExitCode.DONE
    return folder / "demo.log"


def test_fixed_sentences() -> None:
    """What the README tells to grep for is said by the program."""
    for grep in greps():
        for pattern in grep.patterns:
            text = PLACEHOLDERS.get(pattern, pattern)
            ignore_case = any(re.fullmatch(r"-\w*i\w*", word) for word in grep.command)
            anywhere = ignore_case and any(text.lower() in literal.lower() for literal in literals())
            assert anywhere or program_says(text), f"no source says {text!r}"


def test_greps_over_the_demo(demo_log: Path) -> None:
    """Each grep, run as it stands there, finds something in the log of the demo exactly when the README says so."""
    run_id = demo_log.read_text(encoding="utf-8").rpartition("run=")[2].strip()
    for grep in greps():
        command = [word.replace("run=ID", f"run={run_id}") for word in grep.command]
        done = subprocess.run([*command, str(demo_log)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert grep.in_the_demo == ("no" if done.returncode else "yes"), f"{command}: {done.stdout}"


def test_design_greps_over_the_demo(demo_log: Path) -> None:
    """The greps that are promised to operators work: retries, one user, one run, successes."""
    for pattern in (r"retry\|backoff", "ada.park@example.com", "call successful", "run="):
        assert subprocess.run(["grep", "-qi", pattern, str(demo_log)], check=False).returncode == 0, pattern


def test_log_of_the_demo(demo_log: Path) -> None:
    """Every line of the log is one event with time, logger, level and run; the first and the last frame the run."""
    lines = demo_log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - \w+ - [A-Z]+ - .* run=\S+$", line) for line in lines)
    assert " - main - INFO - Run started: from " in lines[0]
    assert " - main - INFO - Run finished: exit_code=0 " in lines[-1]


def test_troubleshooting() -> None:
    """Every sentence that the troubleshooting page greps for is said by the program."""
    text, unsaid = document("TROUBLESHOOTING.md"), []
    commonest = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert len(commonest) == 10
    for cell in [*commonest, *(row[0] for row in table(text, "message", "what happened", "what to do"))]:
        for alternative in spans(cell):
            if not all(program_says(part.strip()) for part in re.split(r"\.\*|[()]", alternative)):
                unsaid.append(alternative)
    assert not unsaid


# -- the rest ------------------------------------------------------------------------------------------------------


def test_nothing_is_left_to_fill_in() -> None:
    """The documents hold real output, not a place for it."""
    assert not [name for name in PAGES if re.findall(r"@[A-Z]+@|TODO|TBD", document(name))]


def test_rooms_table() -> None:
    """The README says of every file at the top level and of every package what it holds, and of no other."""
    told = {span for files, _ in table(document("README.md"), "package", "holds") for span in spans(files)}
    rooms = {f"sync/{path.parent.name}/" for path in HOME.glob("sync/*/__init__.py")}
    assert rooms == {name for name in told if name.startswith("sync/")}
    assert {path.name for path in HOME.glob("*.py")} == {name for name in told if name.endswith(".py")}
    assert all((HOME / name).exists() for name in told)


def anchors(text: str) -> set[str]:
    """What a link can name in a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links(name: str) -> None:
    """Every link to a file of the project, and to a heading in one, leads somewhere."""
    for target, anchor in re.findall(r"\]\((?!https://)([^)#]*)#?([^)]*)\)", document(name)):
        there = (HOME / name).parent / target if target else HOME / name
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), anchor


def test_every_page_can_be_found() -> None:
    """The README links every page of docs/."""
    linked = set(re.findall(r"\]\((docs/[^)#]+)", document("README.md")))
    assert linked == {name for name in PAGES if name.startswith("docs/")}


def block(language: str, word: str) -> str:
    """The code block of docs/query.md in this language that holds this word."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", document("docs/query.md"), re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if word in text]
    return found


def test_example_of_another_schema(tmp_path: Path) -> None:
    """The example's query and settings fit each other, and make the payloads that one expects of them."""
    sql, ini = block("sql", "buyers"), block("ini", "QUERY_FILE")
    (tmp_path / "query.sql").write_text(sql)
    settings_file = tmp_path / "orders.env"
    settings_file.write_text(ini)
    given = dict.fromkeys(("DB_USER", "DB_NAME", "ITERABLE_API_KEY"), "x") | {"QUERY_FILE": str(tmp_path / "query.sql")}
    mapping = load_settings(settings_file, given).mapping()
    statement = parse(sql)
    assert statement.parameters
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE buyers (id, full_name, town, preferences)")
        database.execute("CREATE TABLE orders (buyer_id, number, total, placed_at)")
        database.execute("INSERT INTO buyers VALUES (7, 'Ada Park', 'Oslo', '{\"size\": \"M\"}')")
        database.execute("INSERT INTO orders VALUES (7, 'A-1', 12.5, '2026-01-06 10:00:00')")
        cursor = database.execute(sql, {"since": "2026", "since_local": "2026"})
        names = [column[0] for column in cursor.description]
        row = cursor.fetchone()
    kinds = {"buyer_id": Kind.INTEGER, "total": Kind.NUMBER, "placed_at": Kind.DATETIME}
    columns = [Column(name, kinds.get(name, Kind.TEXT)) for name in names]
    assert mapping_problems(mapping, columns) == []
    built = PayloadBuilder(mapping, columns).build(row)
    assert isinstance(built.profile, Payload)
    assert isinstance(built.event, Event)
    profile = json.loads(built.profile.body)
    assert profile["userId"] == "7"
    assert profile["dataFields"]["name"] == "Ada Park"
    assert profile["dataFields"]["address"] == {"city": "Oslo"}
    assert profile["dataFields"]["preferences"] == {"size": "M"}
    assert json.loads(built.event.body)["dataFields"] == {"number": "A-1", "amount": 12.5}


def test_encoding_of_the_csv(tmp_path: Path) -> None:
    """It is the one that the README tells users of Excel."""
    assert "in UTF-8. In Excel, open it" in document("README.md")
    path = Path(export_results_to_csv([{"name": "Zoë"}], str(tmp_path / "x.csv")))
    assert path.read_bytes() == "name\r\nZoë\r\n".encode()


def test_requirements_are_pinned() -> None:
    """Every requirement names one version, so that the program installs as it was tested."""
    lines = [*document("requirements.txt").splitlines(), *document("requirements-dev.txt").splitlines()]
    needed = [line for line in lines if line.strip() and not line.startswith("#") and line != "-r requirements.txt"]
    assert [line for line in needed if not re.fullmatch(r"[A-Za-z0-9_-]+(\[\w+\])?==[0-9][0-9.]*", line)] == []


def test_one_version() -> None:
    """The newest entry of the changelog, the project file and `--version` say the same version."""
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", document("CHANGELOG.md"), re.MULTILINE)
    assert newest
    assert newest[1] == VERSION == tomllib.loads(document("pyproject.toml"))["project"]["version"]
