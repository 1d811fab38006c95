"""Foreign text made fit for one line of a log."""

from __future__ import annotations

EXCERPT = 500


def excerpt(text: object) -> str:
    """Foreign text for one line of a log: white space folded, nothing unprintable, cut, HTML named as such."""
    words = " ".join(str(text).split())
    if not words.isprintable():
        words = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words)
    if words[:1] == "<" and ("<html" in words.lower() or "<!doctype" in words.lower()):
        words = f"an HTML page of {len(str(text))} characters: {words}"
    return words if len(words) <= EXCERPT else words[:EXCERPT] + "..."
