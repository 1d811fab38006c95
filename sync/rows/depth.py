"""How deeply a document is nested: one answer on every Python.

The depth at which Python's own JSON gives up hangs on its version and on the stack of the moment, so documents are
measured against a bound of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def is_deeper(document: Any, levels: int) -> bool:
    """Whether *document*, which does not hold itself, has more than so many objects and lists inside each other.

    >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [1]}, 1)
    (False, True)
    """
    nodes = [document]
    for _ in range(levels):
        nodes = [child for node in nodes for child in _children(node)]
    return any(isinstance(node, list | tuple | Mapping) for node in nodes)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, Mapping):
        return node.values()
    return node if isinstance(node, list | tuple) else ()
