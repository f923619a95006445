"""How numbers are printed: as the paper prints them, so that its tables come out digit for digit."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

MISSING = "–"


def printed(value: float | None, decimals: int) -> Decimal | None:
    """A number as it is printed.

    Args:
        value: in any unit; None where there is none.
        decimals: digits behind the point.
    """
    return None if value is None else Decimal(f"{value:.{decimals}f}")


def printed_difference(value: Decimal, baseline: Decimal) -> str:
    """A signed difference of two printed numbers: "+3.4", "-0.6", "+0.0".

    Taken between what is printed, not between what was measured, so that a reader who subtracts finds the same. All
    differences in the paper's Tables 1, 3 and 8 are of this kind.
    """
    return f"{value - baseline:+}"


def whole_percents(counts: Sequence[int]) -> tuple[int, ...]:
    """Counts as whole percents that add up to 100: each is rounded down, and what is left goes to the largest rests.

    Of equal rests the larger count has the first claim: 54, 22 and 4 of 80 are 67.5, 27.5 and 5 percent, printed 68,
    27 and 5. For each of the 16 rows in the paper's Tables 1, 3, 8 and 10 there are counts of 80 questions that come
    out so; rounded one by one, five of them (halves to even) or seven (halves up) could never have been printed.

    Args:
        counts: not negative.

    Raises:
        ValueError: nothing was counted.
    """
    total = sum(counts)
    if total <= 0:
        raise ValueError(f"no share of {list(counts)}")
    floors = [100 * count // total for count in counts]
    claims = sorted(range(len(counts)), key=lambda i: (-(100 * counts[i] % total), -counts[i], i))
    for i in claims[: 100 - sum(floors)]:
        floors[i] += 1
    return tuple(floors)
