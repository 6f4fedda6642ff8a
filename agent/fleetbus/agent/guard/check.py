"""One check of the policy: what must hold, and the sentence that says why it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetbus.schemas.guard import GUARD


@dataclass(frozen=True, slots=True)
class Check:
    """`holds` is CEL and true for what is allowed; `because` is CEL that gives a text after the object's name.

    `parameter`: what the owner changes to allow it; empty when nothing does.
    """

    holds: str
    because: str
    parameter: str = ""

    def sentence(self) -> str:
        """CEL: why it is refused, and who can change that."""
        end = (
            f"; its owner may add it to `{self.parameter}` of {GUARD}"
            if self.parameter
            else f"; {GUARD} never allows it"
        )
        return f"{self.because} + '{end}'"


def refusal(checks: Sequence[Check], when: str = "") -> str:
    """CEL: why the first check that does not hold refuses it, one line a check; empty when all hold.

    One expression, as each costs its share of every write. `when` says whether they are to be asked at all.
    """
    first = [f"!({when}) ? '' :"] if when else []
    return "\n".join([*first, *(f"!({check.holds}) ? {check.sentence()} :" for check in checks), "''"])


def listed(value: str, patterns: str) -> str:
    """CEL: whether a text is in a list, where `web-*` stands for all that begin so and `*` for all."""
    return (
        f"{patterns}.exists(p, p == {value} || "
        f"(p.endsWith('*') && {value}.startsWith(p.substring(0, p.size() - 1))))"
    )


def texts(values: tuple[str, ...]) -> str:
    """CEL: a list of texts."""
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"
