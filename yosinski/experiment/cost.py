"""The cost of a run, counted from its architecture before training. No torch."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import accumulate, pairwise

from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.networks.architectures import SegmentCost
from yosinski.networks.catalogue import architecture


@dataclass(frozen=True)
class RunCost:
    """Parameters, steps and FLOPs of one run trained alone. A multiply-add counts as two FLOPs."""

    parameters: int
    trained_parameters: int
    steps: int
    flops: int


def images(run: Run, card: Card, set_name: str, domains: tuple[str, ...] | None = None) -> int:
    """Number of images in one set of the run's half, or of its classes in other domains."""
    if domains is None:
        domains = run.half.domain
    elif not domains:
        return 0
    return _images(card, run.half, set_name, domains, run.examples_per_class if set_name == "train" else None)


def check_batch(run: Run, card: Card) -> None:
    """Raise BadInput if a batch of one image would reach batch norm that needs at least two values per channel."""
    used = run.recipe.norm_below != "frozen"
    paired = [n for n in architecture(run.network).paired if used or math.isfinite(run.begins(n))]
    train = images(run, card, "train")
    if paired and min(run.recipe.batch_size, train) < 2:
        why = f"recipe.batch_size is {run.recipe.batch_size}"
        if run.recipe.batch_size > 1:
            why = f"half {run.half.name} has {train} training image(s), so that recipe.batch_size is {train}"
        segment = "head" if paired[0] > len(run.cuts) else run.cuts[paired[0] - 1]
        raise BadInput(
            f"{run.network} cannot be trained on batches of one image: its batch norm (in {segment}) has then a single "
            f"value to normalise, but {why}; at least 2 are needed"
        )


def unseen_domains(run: Run, card: Card) -> tuple[str, ...]:
    """The domains that the half does not train on and that are used in evaluation only."""
    return () if set(card.unseen) & set(run.half.domain) else card.unseen


@cache
def _images(card: Card, half: Half, set_name: str, domains: tuple[str, ...], at_most: int | None) -> int:
    count = card.images[set_name]
    if isinstance(count, tuple):
        of_class = dict(zip(card.classes, card.there(set_name, domains), strict=True))
        counts = [of_class[name] for name in half.classes]
    else:
        counts = [count * max(1, len(domains))] * len(half.classes)
    return sum(counts if at_most is None else (min(count, at_most) for count in counts))


@lru_cache
def layers(network: str, outputs: int, length: int = 0) -> list[SegmentCost]:
    """The cost of each segment of a network, of texts for one of this length (0: its own guess). The head is last."""
    return architecture(network).costs(outputs, length)


def layers_of(run: Run) -> list[SegmentCost]:
    """The cost of each segment of a run's network, if it had one task and one input."""
    return layers(run.network, run.outputs, run.recipe.length)


def rows_of(run: Run) -> list[SegmentCost]:
    """The cost of each segment for an example in training: of one batch of every task, or of all inputs together."""
    single = layers_of(run)
    return _of_parts(run) if run.partners else single


def evaluation_rows(run: Run) -> list[SegmentCost]:
    """The same in an evaluation, which takes one task at a time."""
    return _of_parts(run) if len(run.inputs) > 1 else layers_of(run)


@lru_cache
def _of_parts(run: Run) -> list[SegmentCost]:
    """Segments below the meeting of inputs or above the parting of tasks are there once for each."""
    single, parts = layers_of(run), len(run.parts)
    every = run.recipe.step == "all"  # all tasks in every step
    if run.towers:
        return _with_towers(run, single)
    rows = []
    for n, row in enumerate(single, 1):
        number, passes = 1, 1
        if run.how.partners == "tasks":
            apart = n > run.cut
            number = parts if apart else 1
            passes = 1 if not every else parts if apart else len(set(run.parts))
        elif n <= run.cut or (n == len(single) and run.recipe.join in ("logits", "multiplicative")):
            number = passes = parts
        parameters, flops = number * row.parameters, passes * row.flops
        if n == len(single) and run.how.partners == "tasks":
            heads = [
                layers(run.network, run.recipe.outputs or len(task.labels), run.recipe.length)[-1] for task in run.tasks
            ]
            parameters = sum(head.parameters for head in heads)
            flops = sum(head.flops for head in heads) if every else row.flops
        if run.how.partners == "inputs" and n == run.cut + 1 and run.recipe.join == "concat":
            biases = row.shape[0]
            parameters, flops = parts * (row.parameters - biases) + biases, parts * row.flops
        rows.append(replace(row, parameters=parameters, flops=flops))
    return rows


def _with_towers(run: Run, single: Sequence[SegmentCost]) -> list[SegmentCost]:
    """The towers of further inputs are part of the segment that they join, each with a layer for its vector."""
    rows = list(single)
    joined = rows[run.cut]
    for tower in run.towers:
        *below, head = layers(tower, run.outputs, run.recipe.length)
        width = math.prod(below[-1].shape)
        added = width * joined.shape[0]
        if run.recipe.join in ("logits", "multiplicative"):
            added = head.parameters
        joined = replace(
            joined,
            parameters=joined.parameters + sum(row.parameters for row in below) + added,
            flops=joined.flops + sum(row.flops for row in below) + 2 * width * joined.shape[0],
        )
    rows[run.cut] = joined
    return rows


def cost(run: Run, card: Card | None) -> RunCost:
    """The cost of a run: forward passes, backward passes down to the lowest trained segment, and all evaluations.

    card: of the half's data set; None for a base from outside, which is not trained here.

    The backward pass of a segment costs twice its forward pass if its weights are trained, and as much as its forward
    pass if gradients only pass through it. A segment that is unfrozen later costs this from then on. While a copy
    trains on stored features, the segments below them cost one forward pass per view and select image in total. Select
    images count once more at the end, when earlier versions evaluated them again, so that all records can be compared.
    """
    rows = rows_of(run)
    if card is None:
        return RunCost(sum(row.parameters for row in rows), 0, 0, 0)
    forward = sum(row.flops for row in rows)
    backward, reached = 0.0, 1.0  # share of the training after which gradients reach the segment
    for n, row in enumerate(rows, 1):
        reached = min(reached, run.begins(n))
        backward += row.flops * (1 - reached + max(0.0, 1 - run.begins(n)))
    train = images(run, card, "train")
    steps = run.recipe.steps(train)
    shown, selected = steps * min(run.recipe.batch_size, train), images(run, card, "select")
    selections = (len(run.recipe.evaluated(steps)) + 1) * selected
    evaluated = selections + images(run, card, "test") + images(run, card, "test", unseen_domains(run, card))
    once = sum(row.flops for row in evaluation_rows(run))
    saved = 0.0
    if depth := standing(run):
        share = min(run.begins(n) for n in range(1, depth + 1))
        passes = min(1.0, share) * (shown + selections) - (run.recipe.views * train + selected)
        saved = passes * sum(row.flops for row in rows[:depth])
    return RunCost(
        parameters=sum(row.parameters for row in rows),
        trained_parameters=sum(row.parameters for n, row in enumerate(rows, 1) if math.isfinite(run.begins(n))),
        steps=steps,
        flops=round(shown * (forward + backward) - saved) + evaluated * once + further_tasks(run, card),
    )


def further_tasks(run: Run, card: Card) -> int:
    """FLOPs of the evaluations of further tasks. Those on another data set count as many images as the first."""
    if len(run.tasks) == 1:
        return 0
    flops, looks = 0, len(run.recipe.evaluated(run.recipe.steps(images(run, card, "train"))))
    for k, task in enumerate(run.tasks[1:], 1):
        half = task if task.fingerprint == run.half.fingerprint else run.half
        alone = replace(run, half=half, treatment="base", cut=0, partners=(), recipe=run.recipe.alone)
        tested = images(alone, card, "test") + images(alone, card, "test", unseen_domains(alone, card))
        rows = layers(run.network, run.recipe.outputs or len(task.labels))
        selections = (looks if k in run.scored else 0) + 1
        flops += (selections * images(alone, card, "select") + tested) * sum(row.flops for row in rows)
    return flops


def in_pack(runs: Sequence[Run], card: Card | None) -> list[float]:
    """FLOPs that each run causes if the runs are trained together. The runs agree in target and recipe.

    Segments that are not trained yet are computed once for all runs that begin with the same segments, and their FLOPs
    are divided evenly among these runs. With stored features these segments are computed only once in the training.
    """
    if card is None:
        return [0.0] * len(runs)
    recipe, train, select = runs[0].recipe, images(runs[0], card, "train"), images(runs[0], card, "select")
    steps = recipe.steps(train)
    shown, looks = steps * min(recipe.batch_size, train), [step / steps for step in recipe.evaluated(steps)]
    tested = images(runs[0], card, "test") + images(runs[0], card, "test", unseen_domains(runs[0], card))
    changes = {run.begins(n) for run in runs for n in range(1, len(run.cuts) + 1)}
    times = [0.0, *sorted(time for time in changes if 0 < time < 1), 1.0]
    caused = [0.0] * len(runs)

    def add(images: float, done: float, trained: bool = False, storing: bool = True) -> None:
        below = trunks(runs, done, [not (storing and stands(run, done)) for run in runs])
        for k, run in enumerate(runs):
            caused[k] += images * (below[k] + above(run, done, trained))

    for begin, end in pairwise(times):
        add(shown * (end - begin), begin, trained=True)
        add(select * sum(begin < look <= end for look in looks), begin)
    add(select, 1.0)
    add(tested, 1.0, storing=False)
    for k, flops in enumerate(trunks(runs, 0.0, [stands(run, 0.0) for run in runs])):
        caused[k] += (recipe.views * train + select) * flops
    return [flops + further_tasks(run, card) for flops, run in zip(caused, runs, strict=True)]


def trunk(run: Run, done: float) -> int:
    """Number of first segments that are computed without gradients, once for all runs that begin with them."""
    changing = run.recipe.norm_below == "batch" or run.recipe.affine_below
    return 0 if changing else run.held(done)


def above(run: Run, done: float, trained: bool = False) -> float:
    """FLOPs per image in the segments that a run does not share, in evaluation or (`trained`) in training."""
    rows, first = rows_of(run) if trained else evaluation_rows(run), trunk(run, done)
    flops = sum(row.flops for row in rows[first:])
    begun = [run.begins(n) <= done for n in range(1, len(rows) + 1)]
    if trained:
        reached = begun.index(True)
        flops += sum(row.flops * (1 + begun[n]) for n, row in enumerate(rows) if n >= reached)
    return flops


def trunks(runs: Sequence[Run], done: float, computed: Sequence[bool]) -> list[float]:
    """FLOPs per image in the shared segments, divided evenly among the runs that begin with them.

    computed: for each run, whether these segments are computed for it; the other runs do not share the cost.
    """
    depths = [trunk(run, done) if part else 0 for run, part in zip(runs, computed, strict=True)]
    sharing: dict[Hashable, list[int]] = defaultdict(list)
    for run, depth in zip(runs, depths, strict=True):
        sharing[origin(run)].append(depth)
    rows = layers_of(runs[0])
    below = {  # by origin, for every depth
        key: [0.0, *accumulate(rows[n].flops / sum(n < other for other in others) for n in range(max(others)))]
        for key, others in sharing.items()
    }
    return [below[origin(run)][depth] for run, depth in zip(runs, depths, strict=True)]


def origin(run: Run) -> Hashable:
    """Key of the weights in a run's first segments. Runs of a pack with equal keys can share these segments."""
    return run.parent.id if run.parent else None, run.below


def stands(run: Run, done: float) -> bool:
    """Whether a run uses stored features after this share of the training."""
    return 0 < standing(run) == trunk(run, done)


def standing(run: Run) -> int:
    """The cut at which a run begins with stored features; 0 if it computes all segments.

    Features that are larger than the pixels that they come from are computed: they would take longer to read. Those of
    texts are always larger than their tokens, and are stored: to compute them takes longer.
    """
    depth = run.held(0.0) if run.recipe.views and run.role == "copy" else 0
    if run.half.reads == "texts":
        return depth
    return depth if depth and bytes_at(run, depth) <= 3 * architecture(run.network).side ** 2 else 0


def memory(runs: Sequence[Run], card: Card, width: int = 4) -> int:
    """Bytes that runs take at least that are trained as a pack: a lower bound, for what cannot fit.

    Weights and momenta of all, and of a step, which members take one after the other, the gradients and what is kept
    for the backward pass: of that the outputs of segments alone, of `width` bytes a value, and none of texts, whose
    length varies.
    """
    kept, steps = 0, []
    for run in runs:
        rows, batch = rows_of(run), min(run.recipe.batch_size, images(run, card, "train"))
        trained = sum(row.parameters for n, row in enumerate(rows, 1) if math.isfinite(run.begins(n)))
        averages = 2 if run.recipe.optimiser == "adamw" else min(1, math.ceil(run.recipe.momentum))
        kept += 4 * (sum(row.parameters for row in rows) + averages * trained)
        above = rows[trunk(run, 1.0) : -2] if run.half.reads == "pictures" else []
        steps.append(4 * trained + batch * width * sum(math.prod(row.shape) for row in above))
    return kept + max(steps, default=0)


def bytes_at(run: Run, depth: int) -> int:
    """Size of the float32 features of an image at a cut."""
    return 4 * math.prod(layers_of(run)[depth - 1].shape)


def stored(runs: Iterable[Run], cards: Mapping[str, Card]) -> int:
    """Size in bytes of the stored features of these runs. Runs with the same first segments and images share them."""
    sizes: dict[Hashable, int] = {}
    for run in runs:
        if depth := standing(run):
            recipe, card = run.recipe, cards[run.half.data]
            trunk = run.parent.id if run.parent else None, run.below, run.seed if run.below else None, recipe.norm_below
            crops = run.half.digest, run.examples_per_class, recipe.views, *recipe.crops.items()
            pictures = recipe.views * images(run, card, "train") + images(run, card, "select")
            sizes[run.network, depth, trunk, crops] = bytes_at(run, depth) * pictures
    return sum(sizes.values())
