"""Who is who if the address is the identity and the user id is known: addresses that change, and shared ones.

A changed address is changed at Iterable (`users/updateEmail`) before anything else is sent for that user.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sync.state.pending import Plan
from sync.state.scope import RunScope

_SENTENCES: Final = {
    "still_shared": "another user id still has the address %s",
    "already_taken": "another user id has the address %s as well",
    "changed_places": (
        "user id %s now has the address %s, but another user gives it up only for an address that is not free either: "
        "give one of them a third address for one run, and then the right one"
    ),
}


class Addresses(RunScope):
    """Settles who is who in the rows of a result; inside the commit that plans the run."""

    def _settle_names(self, plan: Plan) -> None:
        if self.policy.address_ids:
            self.run("addresses", "former ids")
        if self.policy.by_user_id:
            self.run("addresses", "the id identifies")
        if self.policy.follows_addresses:
            self.run("addresses", "changes")
            while self.run("addresses", "not made", **_SENTENCES):
                pass
            self.run("addresses", "one user")
            self.run("addresses", "waits", **_SENTENCES)
            plan.moves = self.one(
                "SELECT COUNT(*) FROM temp.change c CROSS JOIN temp.scan s ON s.key = c.person AND s.mark = 2 "
                "WHERE c.reason IS NULL AND c.person NOT IN (SELECT person FROM temp.waits)"
            )

    def changes_not_made(self) -> Iterator[tuple[str, str]]:
        """Users whose address changed but is not changed at Iterable, and why: (identity, reason)."""
        yield from self.do("SELECT person, reason FROM temp.change WHERE reason IS NOT NULL ORDER BY line")

    def waiting(self) -> Iterator[tuple[str, str]]:
        """Users who take an address that another user gives up, and so wait for the next run: (identity, address)."""
        yield from self.do("SELECT person, address FROM temp.waits")
