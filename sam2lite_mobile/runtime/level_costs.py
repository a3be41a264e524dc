"""What a frame costs at each size, relative to the others: a guess by area, corrected by what was seen.

A frame's time is some fixed work plus work that grows with the area. How much is fixed depends on the device, the
engine and the number of objects, so nobody can say it beforehand; but it lies between nothing (time grows with the
area) and everything (time does not depend on the size). Every ratio kept here stays between the two, whatever is seen.
"""

from __future__ import annotations

Costs = tuple[float, ...]
"""Relative cost of each offered size, ascending, 1 for the largest. Never falls with the size."""


def area_costs(sizes: tuple[int, ...]) -> Costs:
    """The guess that nothing is fixed: size x size / (largest x largest). float64, exact integers divided once.

    It is the careful one: it expects the most of a larger size, so that one is not tried too early.
    """
    largest = sizes[-1] * sizes[-1]
    return tuple(size * size / largest for size in sizes)


def expected_ms(costs: Costs, *, level: int, level_ms: float, other: int) -> float:
    """Time of a frame at level `other` under the load that made one at `level` take `level_ms`."""
    return level_ms * costs[other] / costs[level]


def learned(costs: Costs, areas: Costs, *, before: int, before_ms: float, after: int, after_ms: float) -> Costs:
    """Costs after a change from level `before` to `after`, whose frames took these milliseconds.

    Half of the difference between what was known and what was seen is taken over: a change that coincides with a
    change of the load says something false. (With all of it, a size was raised too early on a throttling staircase.)
    What was seen is first brought into the bounds of the module's docstring. Then the other levels, outward from
    `after`, are brought to where the bounds between neighbours hold again, and all are divided by the largest.
    Milliseconds: before_ms > 0.
    """
    seen = costs[before] * after_ms / before_ms
    bound = costs[before] * areas[after] / areas[before]
    seen = min(max(seen, min(bound, costs[before])), max(bound, costs[before]))
    result = list(costs)
    result[after] = (costs[after] + seen) / 2
    for upper in range(after + 1, len(costs)):
        below = result[upper - 1]
        result[upper] = min(max(result[upper], below), below * areas[upper] / areas[upper - 1])
    for lower in range(after - 1, -1, -1):
        above = result[lower + 1]
        result[lower] = min(max(result[lower], above * areas[lower] / areas[lower + 1]), above)
    return tuple(cost / result[-1] for cost in result)
