"""What a verification found: one check per subject, in the four parts of every message of this toolkit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SHOWN = 300


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `group` is what it belongs to (`files`, `gates`, ...); `do` is empty if it passed.

    The texts may quote an untrusted package: `printable` has been through them.
    """

    group: str
    what: str
    passed: bool
    expected: str
    got: str
    do: str


@dataclass(frozen=True)
class VerifyReport:
    """All checks of one package, in the order in which they ran. An early failure may end it.

    notes: what a reader of the verdict has to know besides, for example that the files were not executed.
    """

    folder: Path
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True where there were checks and none failed."""
        return bool(self.checks) and not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def groups(self) -> dict[str, tuple[int, int]]:
        """Group -> (checks passed, checks made)."""
        counts: dict[str, tuple[int, int]] = {}
        for check in self.checks:
            passed, made = counts.get(check.group, (0, 0))
            counts[check.group] = (passed + check.passed, made + 1)
        return counts


def passed(group: str, what: str, *, expected: object) -> Check:
    """A check that found what it expected."""
    text = printable(expected)
    return Check(group, printable(what), True, text, text, "")


def failed(group: str, what: str, *, expected: object, got: object, do: str) -> Check:
    """A check that found something else."""
    return Check(group, printable(what), False, printable(expected), printable(got), do)


def compare(group: str, what: str, *, expected: object, got: object, do: str) -> Check:
    """A check that passes where the two are equal."""
    if expected == got:
        return passed(group, what, expected=expected)
    return failed(group, what, expected=expected, got=got, do=do)


def printable(value: object) -> str:
    """`value` as one line that no terminal acts on: control characters escaped, cut after 300 characters."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
