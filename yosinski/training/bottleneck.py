"""The bottleneck: with `recipe.views`, the output of frozen segments is stored once and used as input.

It is used in training and in evaluations on the select images, which are repeated. Test images are evaluated only once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yosinski.data.pictures.crops import each_once
from yosinski.experiment import cost
from yosinski.networks import tensors
from yosinski.networks.layers import standardising_once
from yosinski.networks.tokens import Seen, Tokens, around
from yosinski.training import features, surgery
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.clock import Clock
from yosinski.training.evaluation import ImageSet
from yosinski.training.features import AT_A_TIME
from yosinski.training.pack import Member, at_cuts
from yosinski.training.stream import Stream


class Stopped(Exception):
    """A stop was requested while features were being stored."""


def take_features(
    pack: list[Member],
    stream: Stream,
    select: ImageSet,
    stores: Path,
    arithmetic: Arithmetic,
    clock: Clock,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Open the stored features of all members that still train above their first frozen segments; make missing ones.

    A thawed member that has reached deeper segments computes its features instead, also after an interruption; so does
    one whose features are larger than pixels. Nothing is stored without `recipe.views`. Stopped if `stopping` is true
    between two batches.
    """
    standing = [member for member in pack if 0 < member.trunk == cost.standing(member.run)]
    if not standing:
        return
    common = {"half": stream.run.half.digest, "stored": stream.stored or stream.longest, "arithmetic": arithmetic.below}
    used = {"examples_per_class": stream.run.examples_per_class, "images": len(stream.used)}
    crops = {"views": stream.views, **stream.recipe.crops}
    sets: dict[str, tuple[dict[str, Any], Callable[[], Iterator[Seen]]]] = {
        "train": ({**used, **crops}, lambda: stream.viewed(AT_A_TIME)),
        "select": ({"images": len(select.rows), "views": 1}, lambda: unaugmented(stream, select)),
    }
    for name, (images, batches) in sets.items():
        keys = [{**trunk(member), **common, "set": name, **images} for member in standing]

        def compute(missing: list[int], batches: Callable[[], Iterator[Seen]] = batches) -> Iterator[Any]:
            for given in batches():
                batch = given.to(arithmetic.device)
                with arithmetic.autocast(), around(batch), standardising_once():
                    computed = at_cuts([standing[k] for k in missing], batch, clock)
                yield computed

        def beat() -> None:
            if stopping():
                raise Stopped

        for member, stored in zip(standing, features.stored(stores, keys, compute, beat), strict=True):
            member.features[name] = stored


def trunk(member: Member) -> dict[str, Any]:
    """A member's frozen segments as JSON values."""
    run, n = member.run, member.trunk
    return {
        "network": run.network,
        "cut": {"n": n, "name": run.cuts[n - 1]},
        "below": tensors.fingerprint(surgery.below(member.network.state_dict(), member.network, n)),
        "parent": run.parent.id if run.parent else None,
        "parent_weights": member.parent_weights,
    }


def unaugmented(stream: Stream, images: ImageSet) -> Iterator[Seen]:
    """The centre crops of a set's images, or its texts, with room for the longest."""
    for batch, _ in each_once(stream.store, images.rows, images.labels, images.side, AT_A_TIME, images.rule):
        yield batch.with_room(stream.longest) if isinstance(batch, Tokens) else batch
