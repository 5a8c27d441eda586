"""Which cuts of a network are asked for: numbers, names, or all at once by a word. No torch."""

import math
from collections.abc import Iterable
from itertools import pairwise

from yosinski.errors import BadInput, nearest
from yosinski.networks.catalogue import architecture

WORDS = ("all", "stages", "every:K", "around:CUT:K")


def chosen(network: str, wanted: Iterable[int | str] | None) -> list[int]:
    """The numbers n of the cuts that are asked for, each once, in the order in which they are; None: all.

    A number or a segment's name is that cut. `all`; `stages`: the last of every run of segments with outputs of one
    size (quarters of the depth where these are fewer than three); `every:K`: the last one and every K-th below it;
    `around:CUT:K`: from K below a cut to K above it, 1 if K is left out. BadInput for what is none of these.
    """
    if wanted is None:
        wanted = ("all",)
    return list(dict.fromkeys(n for item in wanted for n in _meant(network, item)))


def _meant(network: str, item: int | str) -> Iterable[int]:
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
            centre, *more = _meant(network, cut)
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
    """The last of every run of segments whose outputs have one size; a pooled output counts with what it pools."""
    shapes = [row.shape for row in architecture(network).costs(1)[:-1]]
    last = len(shapes)
    ends = [n for n, (a, b) in enumerate(pairwise(shapes), 1) if a != b and math.prod(b) not in a]
    ends.append(last)
    return ends if len(ends) >= 3 else sorted({math.ceil(last * quarter / 4) for quarter in (1, 2, 3, 4)})
