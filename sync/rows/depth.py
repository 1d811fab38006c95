"""How deeply a document is nested: one answer on every Python.

The depth at which Python's own JSON gives up hangs on its version and on the stack of the moment, so documents are
measured against a bound of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_deeper(document: Any, levels: int) -> bool:
    """Whether *document* has more than so many objects and lists inside each other; one that holds itself has.

    >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [1]}, 1)
    (False, True)
    """
    level = {id(document): document} if _holds_others(document) else {}
    for _ in range(levels):
        if not level:
            return False
        children = (node.values() if isinstance(node, Mapping) else node for node in level.values())
        level = {id(node): node for nodes in children for node in nodes if _holds_others(node)}
    return bool(level)


def _holds_others(node: Any) -> bool:
    return isinstance(node, dict | list | tuple | Mapping)
