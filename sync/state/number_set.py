"""A set of whole numbers that takes a bit for each: a million of them, given one after the other, take 125 kB."""

from __future__ import annotations

_BITS = 12
_LOW = (1 << _BITS) - 1


class NumberSet:
    """Numbers from 0; memory is taken a page of 4,096 at a time, where there is any."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def __bool__(self) -> bool:
        return bool(self._pages)

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _BITS)
        return page is not None and bool(page[(number & _LOW) >> 3] & 1 << (number & 7))

    def add(self, number: int) -> bool:
        """Put a number in; returns whether it was not there yet."""
        page = self._pages.get(number >> _BITS)
        if page is None:
            page = self._pages[number >> _BITS] = bytearray(1 << _BITS - 3)
        place, bit = (number & _LOW) >> 3, 1 << (number & 7)
        before = page[place]
        page[place] = before | bit
        return not before & bit
