"""Addresses that change, whatever happened before: in the end every user is there once, with events and segment."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sync.run.exit_codes import ExitCode
from sync.state.outcomes import Outcomes
from tests.examples import examples
from tests.harness import World
from tests.run.moving import MOVE, moving_world
from tests.sample_rows import T0, person
from tests.stand_in.faults import UNAVAILABLE

ids = st.integers(1, 4)
addresses = st.sampled_from([f"{letter}@example.com" for letter in "abcde"])


class Died(BaseException):
    """The process ended here."""


class AnyMoves(RuleBasedStateMachine):
    """The model knows the address and the pages of each id in the result; no two ids have one address at a time.

    Who has left the result may lose the address to another, and with it the user at Iterable and the events there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.address: dict[int, str] = {}
        self.pages: dict[int, list[str]] = {}

    @initialize(bulk=st.booleans())
    def install(self, bulk: bool) -> None:
        """Three users, delivered."""
        environ = {"WORKERS": "1", "MAX_RETRIES": "1", "ITERABLE_BULK": str(bulk).lower()}
        self.world: World = moving_world(self.folder, self.patch, **environ)
        for number, letter in enumerate("abc", start=1):
            self.address[number], self.pages[number] = f"{letter}@example.com", ["pricing"]
        self.run()

    @rule(number=ids, address=addresses)
    def change(self, number: int, address: str) -> None:
        """An id has another address, or comes with one, that no other id has now."""
        if address not in self.address.values():
            self.address[number] = address
            self.pages.setdefault(number, ["pricing"])

    @rule(number=ids)
    def leave(self, number: int) -> None:
        """An id leaves the result."""
        self.address.pop(number, None)

    @rule(number=ids, page=st.sampled_from(["settings", "docs"]))
    def view(self, number: int, page: str) -> None:
        """One more event."""
        if number in self.pages and page not in self.pages[number]:
            self.pages[number].append(page)

    @rule()
    def run(self) -> None:
        """A run to which nothing happens."""
        self._run()

    @rule()
    def run_with_lost_answers(self) -> None:
        """Moves are made, and their answers lost."""
        self.world.iterable.faults = lambda request: UNAVAILABLE.applied() if request.path == MOVE else None
        self._run()
        self.world.iterable.faults = None

    @rule(after=st.integers(0, 5), applied=st.booleans())
    def run_into_trouble(self, after: int, applied: bool) -> None:
        """The API goes away after some requests, with or without the last of them."""
        fault = UNAVAILABLE.applied() if applied else UNAVAILABLE
        number = count()
        self.world.iterable.faults = lambda _request: fault if next(number) >= after else None
        self._run()
        self.world.iterable.faults = None

    @rule()
    def die_before_the_record(self) -> None:
        """The process dies when the first outcomes are to be recorded."""

        def record(_self: object, _outcomes: object) -> None:
            raise Died

        with pytest.MonkeyPatch.context() as patch, suppress(Died):
            patch.setattr(Outcomes, "record", record)
            self._run()

    def _run(self) -> None:
        self.world.rows = [
            person(number, email=address, page=f"{page} of {number}", event_time=T0 + timedelta(minutes=place))
            for number, address in self.address.items()
            for place, page in enumerate(self.pages[number])
        ]
        self.world.run(allow_mass_exit=True)

    def teardown(self) -> None:
        """Each id gets an address that nobody ever had: then all is as the rows say."""
        try:
            if self.address:
                self._settle()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        self.address = {number: f"final{number}@example.com" for number in self.address}
        for _ in range(3):
            self._run()
        assert self.world.run(allow_mass_exit=True).exit_code == ExitCode.DONE
        assert self.world.sent == []
        project = self.world.iterable.project
        there = {owner.user_id: str(owner.email) for owner in project.users.names.owners().values()}
        assert len(there) == len(project.users.names.owners()), "somebody is there twice"
        assert None not in there
        assert {number: there[str(number)] for number in self.address} == self.address
        inside = {key for key, profile in project.profiles.items() if profile.get("recent_page_view")}
        assert inside == set(self.address.values())
        for number, address in self.address.items():
            mine = [event for event, owner in project.owner_of.items() if owner == address]
            told = {str(project.events[event]["dataFields"]["page"]) for event in mine}
            assert told >= {f"{page} of {number}" for page in self.pages[number]}, "an event is not where its user is"
            others = {int(page.rpartition(" ")[2]) for page in told} - {number}
            assert not others & self.address.keys(), "an event went to somebody else"


AnyMoves.TestCase.settings = examples(12, stateful_step_count=10)
TestAnyMoves = AnyMoves.TestCase
