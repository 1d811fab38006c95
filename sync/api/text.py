"""Make text that others wrote fit on one line of a log."""

from __future__ import annotations

EXCERPT = 500


def excerpt(text: object) -> str:
    """Text of others for one line of a log: white space collapsed, nothing unprintable, cut to length, HTML marked."""
    words = " ".join(str(text).split())
    if not words.isprintable():
        words = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words)
    if words[:1] == "<" and ("<html" in words.lower() or "<!doctype" in words.lower()):
        words = f"an HTML page of {len(str(text))} characters: {words}"
    return words if len(words) <= EXCERPT else words[:EXCERPT] + "..."
