"""Selections of cuts: by number, by name, or by words such as `all`. No torch."""

import math
from collections.abc import Iterable
from itertools import pairwise

from yosinski.errors import BadInput, nearest
from yosinski.networks.catalogue import architecture

WORDS = ("all", "stages", "every:K", "around:CUT:K")


def chosen(network: str, wanted: Iterable[int | str] | None) -> list[int]:
    """The numbers n of the selected cuts, without duplicates, in the given order; None: all.

    An item is a number, a segment's name or one of these words:
    `all`
    `stages`: the last segment of every series of segments with outputs of one size; quarters of the depth if there are
    fewer than three
    `every:K`: the last cut and every K-th below it
    `around:CUT:K`: from K below a cut to K above it; K defaults to 1

    BadInput for other items.
    """
    if wanted is None:
        wanted = ("all",)
    return list(dict.fromkeys(n for item in wanted for n in _selected(network, item)))


def _selected(network: str, item: int | str) -> Iterable[int]:
    names = architecture(network).cuts
    last = len(names)
    word, *rest = str(item).split(":")
    match word, rest:
        case "all", []:
            return range(1, last + 1)
        case "stages", []:
            return stages(network)
        case "every", [k] if k.isdecimal() and int(k):
            return sorted(range(last, 0, -int(k)))
        case "around", [cut, *k] if len(k) < 2 and all(map(str.isdecimal, k)):
            centre, *more = _selected(network, cut)
            if more:
                raise BadInput(f"around needs one cut, but {cut} is {1 + len(more)} of them")
            gap = int(k[0]) if k else 1
            return range(max(1, centre - gap), min(last, centre + gap) + 1)
    if str(item) in names:
        return [names.index(str(item)) + 1]
    if not str(item).lstrip("-").isdecimal():
        raise nearest(f"cut of {network}", str(item), (*names, *WORDS))
    if not 1 <= int(item) <= last:
        raise BadInput(f"{network} has no cut {item}; it has {last}: 1 ({names[0]}) to {last} ({names[-1]})")
    return [int(item)]


def stages(network: str) -> list[int]:
    """The last segment of every series with outputs of one size. Pooling does not begin a new series."""
    shapes = [row.shape for row in architecture(network).costs(1)[:-1]]
    last = len(shapes)
    ends = [n for n, (a, b) in enumerate(pairwise(shapes), 1) if a != b and math.prod(b) not in a]
    ends.append(last)
    return ends if len(ends) >= 3 else sorted({math.ceil(last * quarter / 4) for quarter in (1, 2, 3, 4)})
