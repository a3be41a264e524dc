"""Axes of the page's charts: ranges, round ticks, and how a value is written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LARGEST = 1e12
STEPS, WHOLE_STEPS = (1, 2, 2.5, 5, 10), (1, 2, 5, 10)
"""A tick is one of these times a power of ten after the one before."""


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` over the pixels `start` to `end`, with ticks inside."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Pixel of a value, rounded to a tenth; values outside lie outside."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def label(self, tick: float) -> str:
        """A tick's text, with the decimals that keep neighbours apart."""
        return number(tick, decimals=decimals_of(self.ticks))


def axis(low: float, high: float, *, start: float, end: float, ticks: int = 5, whole: bool = False) -> Axis:
    """An axis over `low` to `high` as they are, with about `ticks` round ticks; whole: at whole numbers only.

    A range without length gets one around its value.
    """
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return Axis(low, high, start, end, round_ticks(low, high, count=ticks, whole=whole))


def round_ticks(low: float, high: float, *, count: int, whole: bool = False) -> tuple[float, ...]:
    """Round values between low and high, both included, about `count` of them. low must be below high."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (WHOLE_STEPS if whole else STEPS) if each * power >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(step * index for index in range(first, last + 1))


def padded(values: Iterable[float], *, floor: float | None = None, share: float = 0.06) -> tuple[float, float]:
    """Lowest and highest value with a margin on both sides, of (0, 1) where there is none. floor: starts there.

    Values beyond LARGEST are left out, as are those that are no numbers: nothing that is measured is that large.
    """
    known = [value for value in values if abs(value) <= LARGEST]
    if not known:
        return 0.0, 1.0
    low = min(known) if floor is None else floor
    high = max(low, *known)
    margin = share * (high - low) or 0.5
    return (low if floor is not None else low - margin), high + margin


def decimals_of(ticks: tuple[float, ...]) -> int:
    """Decimals, 0 to 4, that tell all ticks apart."""
    for decimals in range(4):
        if all(abs(tick - round(tick, decimals)) < 1e-9 for tick in ticks):
            return decimals
    return 4


def number(value: float, *, decimals: int = 1) -> str:
    """A number for readers: fixed decimals, a true minus sign, spaces between thousands."""
    text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace("-", "\N{MINUS SIGN}") if float(f"{value:.{decimals}f}") else text.lstrip("-")


def signed(value: float, *, decimals: int = 1) -> str:
    """A difference for readers, with its sign."""
    text = number(value, decimals=decimals)
    return f"+{text}" if value > 0 and text.strip("0.") else text
