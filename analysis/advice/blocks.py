"""Runs that may be compared, block by block: the same network, data, recipes, kind of split and number of images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.early.stopped import finals
from analysis.early.table import stops
from analysis.figures.marks import subject
from analysis.frame import arithmetic, distinct
from analysis.paired import FEWEST, METRICS, kind_of_split, main_experiment, metric_for, outside, trained
from yosinski.data.place import EARLIER, earlier
from yosinski.errors import BadInput, count

# In what copies and bases agree.
ALIKE = ["origin", "network", "data", "rule", "kind", "semantics", "recipe", "examples_per_class"]
VARIED = ["split", "division", "seed"]  # what replicates can be of, the widest first
OF_BASES = ["base_recipe", "base_examples"]  # that copies were cut from


@dataclass
class Block:
    """`frame` has all rows of its runs, `runs` the last of each as `one_row_each` has it, `groups` those of classes.

    directory: where the records are, None for published networks. weights: where those from outside were found, if
    copies are cut from such; parent: the id of their base.
    """

    title: str
    metric: str
    frame: pd.DataFrame
    runs: pd.DataFrame
    directory: Path | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    parent: str = ""
    sharing: tuple[str, str] | None = None  # of joint and fused networks: what stands around n in a choice's name

    @cached_property
    def good(self) -> pd.DataFrame:
        """The runs that count."""
        return self.runs.loc[self.runs["counts"]]

    @property
    def published(self) -> bool:
        """Whether these are the paper's own networks."""
        return bool((self.runs["origin"] == "paper").all())

    @cached_property
    def replicates(self) -> str:
        """What intervals go over: "split", or "division" or "seed" where fewer than three splits compare choices."""
        of_what = replicates_of(self.runs)
        one_half = of_what == "split" and len(set(self.good["split"])) < 2
        return "seed" if self.weights and one_half else of_what

    @cached_property
    def number(self) -> int:
        """How many replicates there are among transfer copies that count: selffers are no choices."""
        return int(self.good.loc[self.good["relation"] == "transfer", "replicate"].nunique())

    @property
    def examples(self) -> int | None:
        """Images of each class that these runs were trained on, None for all."""
        counts = self.runs["examples_per_class"].dropna()
        return int(counts.iloc[0]) if len(counts) else None

    @property
    def measured(self) -> str:
        """What accuracies were measured on."""
        return METRICS[self.metric]


def blocks(
    frame: pd.DataFrame,
    metric: str | None = None,
    directory: Path | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Block]:
    """The blocks of a frame of records, of published networks, or of both, those with most copies first.

    A block is the copies that agree in `ALIKE` and in what their bases were trained on, with the bases that agree in
    `ALIKE`. Copies of every base from outside are a block of their own, with the selffers on their targets.
    metric: that of all blocks; None: `best10_top1` of published networks, `select_top1` of records, since
    choices are made on select images. groups: by data set, the group of every class. BadInput: no copies, or no run
    that is done has the metric.
    """
    if metric is not None:
        metric_for(frame, metric)
        if (there := metrics_of(frame)) and metric not in there:
            raise BadInput(f"no run has {metric}; choose from: {', '.join(there)}")
    weights = outside(frame)
    frame = trained(main_experiment(frame))
    frame = frame.loc[frame["treatment"].notna()]
    frame = frame.assign(kind=kind_of_split(frame))
    about = frame.loc[frame["last"]].set_index("run")[["recipe", "examples_per_class"]]
    for column, name in zip(OF_BASES, about.columns, strict=True):
        of_parent = frame["parent"].map(about[name].astype("string").fillna("all")).astype("string").fillna("unknown")
        # The base beside copies of weights from outside is trained as these are.
        frame[column] = of_parent.mask(frame["parent"].isin(list(weights)), frame[name].astype("string").fillna("all"))
    frame["from_outside"] = frame["parent"].where(frame["parent"].isin(list(weights)), "").astype("string")
    copies = frame.loc[frame["relation"] != "base"]
    if copies.empty:
        raise BadInput("there are no copies among these runs, so there is no cut to advise on")

    stopped = None if directory is None else stops(directory)
    made, beside = [], set()
    groups_of_copies: Any = copies.groupby([*ALIKE, *OF_BASES, "from_outside"], dropna=False)
    for key, group in sorted(groups_of_copies, key=lambda pair: not pair[0][-1]):  # those from outside first
        alike = frame["relation"].isin(["base", "selffer"] if key[-1] else ["base"])
        for name, value in zip([*ALIKE, *OF_BASES], key, strict=False):
            equal = frame[name].isna() if pd.isna(value) else (frame[name] == value).fillna(False)
            alike &= equal | (frame["relation"] == "base" if name in OF_BASES else False)
        rows = frame.loc[frame.index.isin(group.index) | alike]
        if key[-1]:
            beside |= set(rows["run"])
        elif set(group["run"]) <= beside:  # selffers that stand beside copies from outside
            continue
        own = metric or ("best10_top1" if key[0] == "paper" else "select_top1")
        data = str(group["data"].iloc[0])
        of_classes = (groups or {}).get(data, {})
        where = None if key[0] == "paper" else directory
        runs = one_row_each(rows, own, None if where is None else stopped)
        made.append(Block("", own, rows, runs, where, of_classes, weights.get(key[-1], ""), key[-1]))
    made.sort(key=lambda block: -len(block.runs))
    for block in made:
        block.title = _title(block, made)
    return made


def has_copies(frame: pd.DataFrame) -> bool:
    """Whether there are copies among these runs, so that there is a cut to advise on."""
    relations = trained(main_experiment(frame))["relation"]
    return bool((relations.fillna("base") != "base").any())


def one_row_each(frame: pd.DataFrame, metric: str, stopped: pd.DataFrame | None = None) -> pd.DataFrame:
    """The last row of every run, with `value` (the metric) and the columns below. stopped: of `early.table.stops`.

    counts       whether the run is done or was stopped early, has a value, and was not cut from weights that its base
                 no longer has
    stopped      whether it was stopped early, and is not done
    predicted    whether the value of such a run is the predicted one of `early.stopped.finals`; without a prediction it
                 has no value
    error        standard error of a predicted value, in accuracy; 0 of a measured one
    replicate    the split, division or seed (`replicates_of`), with the split and division that it is of, if these vary
    """
    runs = frame.loc[frame["last"]].reset_index(drop=True)
    done = runs["state"] == "done"
    runs = runs.assign(value=runs[metric], error=0.0, predicted=False, stopped=False)
    if stopped is not None and len(stopped):
        runs["stopped"] = runs["run"].isin([run for ids in stopped["runs"] for run in ids]) & ~done
        predictions: Any = finals(frame, stopped, metric).set_index("run")
        runs["predicted"] = runs["run"].isin(list(predictions.index))
        finals_of, errors = (
            runs["run"].map(predictions[name].to_dict()).astype("float64") for name in ("final", "error")
        )
        runs["value"] = finals_of.where(runs["stopped"], runs["value"])
        runs["error"] = errors.fillna(0.0)
    runs = runs.assign(counts=(done | runs["predicted"]) & runs["value"].notna() & ~runs["stale"])
    for name in VARIED:
        runs[name] = runs[name].astype("string").fillna("")
    of_what = replicates_of(runs)
    varying = [name for name in VARIED if runs.loc[runs["counts"], name].nunique() > 1]
    columns = list(dict.fromkeys([*varying[: varying.index(of_what) if of_what in varying else 0], of_what]))
    return runs.assign(replicate=runs[columns].agg(" ".join, axis=1).astype("string"))


def metrics_of(runs: pd.DataFrame) -> list[str]:
    """The metrics that runs of these which are done have numbers of."""
    done = runs.loc[runs["last"] & (runs["state"] == "done")]
    return [name for name in METRICS if done[name].notna().any()]


def replicates_of(runs: pd.DataFrame) -> str:
    """What replicates of these runs are: "split", "division" or "seed".

    Splits, where three of them compare two choices (or a choice and the base) that count. Otherwise divisions of each
    split stand in for them, and otherwise seeds of each division, where three of these compare. So a run of one more
    split takes nothing away from what those of another one say.
    """
    good: Any = runs.loc[runs["counts"] & runs["relation"].isin(["base", "transfer"])]
    choice = good["treatment"].astype(str) + good["n"].astype(str)
    for k, name in enumerate(VARIED):
        number = choice.groupby([good[column] for column in VARIED[: k + 1]]).nunique()
        if good[name].nunique() > 1 and (number > 1).sum() >= FEWEST:
            return name
    return next((name for name in VARIED if good[name].nunique() > 1), "split")


def caveats(block: Block) -> list[str]:
    """What a reader has to know of the runs of a block before believing anything: sentences."""
    runs: Any = block.runs
    good: Any = block.good
    targets, splits, divisions = (good[name].nunique() for name in ("target_half", "split", "division"))
    divided = f", {count(divisions, 'division')} ({distinct(good['division'], 6)})" if divisions > 1 else ""
    said = [
        f"{len(good)} of {len(runs)} runs count: {count(targets, 'target')}, {count(splits, 'split')}"
        f" ({distinct(good['split'], 6)}){divided}.",
        _varied(block),
    ]
    guessed: Any = good.loc[good["predicted"]]
    if len(guessed):
        error = 100 * guessed["error"].mean()
        said.append(
            f"{len(guessed)} of these runs were stopped early and stand in with their predicted final score, with an"
            f" error of {error:.2f} points on average; what they reach on test images is not known."
        )
    said += _left_out(runs.loc[~runs["counts"]])
    counted_series = set(good["series"])
    for series, without in _WITHOUT.items():
        if series not in counted_series:
            said.append(f"No {series} counts: {without}.")
    data_sets: Any = runs[["data", "rule"]].dropna().drop_duplicates()
    if any(earlier(str(data), int(rule)) for data, rule in data_sets.itertuples(index=False)):
        said.append(f"Images were {EARLIER}.")
    kinds = arithmetic(good).dropna().value_counts().sort_index()
    if len(kinds) > 1:
        kinds = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        said.append(f"Mixed arithmetic: {kinds}; differences smaller than those between machines mean nothing.")
    part = good.loc[good["lost"].fillna(0) > 0]
    if len(part):
        said.append(f"{len(part)} logs are lost in part ({distinct(part['name'])}): scored by what is left.")
    if (copies := runs.loc[runs["n"] > 0]).size and block.examples is not None:
        from_more = copies["base_examples"].iloc[0]
        if from_more not in (str(block.examples), "unknown"):
            said.append(
                f"Copies have {block.examples} images of each class, the bases that they were cut from {from_more}:"
                " here base - BnB is no co-adaptation, since the copied layers have seen more images than the base has."
            )
        elif from_more == "unknown":
            said.append("What the bases of these copies were trained on is not among these runs.")
    return said


def _varied(block: Block) -> str:
    """Over what the replicates vary, and so what intervals cover, and what they do not."""
    of_what, number = block.replicates, block.number
    if number < FEWEST:
        return f"{count(number, of_what)}: no interval, and no comparison, only a look at these very runs."
    good: Any = block.good
    varies = [name for name in VARIED if good[name].nunique() > 1]
    if of_what == "seed":
        copies: Any = block.good.loc[block.good["n"] > 0]
        bases = copies.groupby(["target_half", "series", "n"])["parent"].nunique()
        shared = "" if (bases > 1).all() else " All copies of a cut share one base: its luck is in all of them."
        return (
            f"What varies is the seed ({number}): the intervals cover another training on the same halves, and say"
            f" nothing about other classes.{shared}"
        )
    if of_what == "division":
        return (
            f"What varies is how images are divided between training and select ({count(number, 'division')}):"
            " intervals cover another division of the same images, corrected for the images that divisions share, and"
            " say nothing about other classes."
        )
    if of_what == "split" and block.weights:
        return "Estimated is the mean over targets like these; the intervals cover others of the same data."
    within = " and ".join(f"{name}s" for name in varies if name != "split")
    return (
        f"Estimated is the mean over halves drawn like these{f'; within a split {within} are averaged' * bool(within)}."
        " Splits of one data set share classes and pictures, so the intervals cover other splits of the same data, not"
        " other data."
    )


def _left_out(lost: Any) -> list[str]:
    """One line for what is merely not trained yet, and one for every other reason."""
    if lost.empty:
        return []
    why = lost["state"].where(lost["state"] != "done", "done without a value")
    why = why.mask(lost["stopped"], "stopped").mask(lost["stale"], "stale")
    said = []
    pending = why.isin(list(_PENDING))
    if pending.any():
        states = why[pending].map(_PENDING).value_counts()
        only = states.index[0] if len(states) == 1 else ", ".join(f"{n} {words}" for words, n in states.items())
        said.append(f"Left out for now: {_by_series(lost.loc[pending])} ({only}).")
    for reason, group in lost.loc[~pending].groupby(why[~pending]):
        said.append(f"Left out: {_by_series(group)}, {_REASONS.get(str(reason), reason)}.")
    return said


def _by_series(runs: Any) -> str:
    return ", ".join(f"{number} {series}" for series, number in runs["series"].value_counts().sort_index().items())


_PENDING = {
    "missing": "not trained yet, or without a log",
    "running": "still running",
    "interrupted": "interrupted",
}
_REASONS = {
    "stale": "whose base has been trained anew since they were cut",
    "stuck": "stuck at chance",
    "diverged": "which diverged",
    "blocked": "whose base failed",
    "failed": "with a damaged file, or ended by an error",
    "stopped": "stopped early, and not predicted: that takes finished contests on other splits, and select images",
    "done without a value": "done, but without a number of this metric",
}
_WITHOUT = {
    "base": "nothing can be compared with training from scratch",
    "BnB": "co-adaptation and specificity cannot be told apart",
    "BnB+": "what fine-tuned transfer gains may be a second training alone",
    "AnB": "nothing is known of frozen transfer",
    "AnB+": "nothing is known of fine-tuned transfer",
}


def _title(block: Block, among: list[Block]) -> str:
    """Network, data and kind of split; images per class, recipes, semantics and weights where blocks differ in them."""
    kinds = block.runs["kind"].dropna().unique()  # none where the files of the halves are missing
    parts = [", ".join([subject(block.runs), *(f"{kind} halves" for kind in kinds[:1])])]
    for name, words in _TOLD.items():
        if len({_of_copies(other, name) for other in among}) > 1:
            parts.append(words.format(_of_copies(block, name)))
    if block.weights and len({other.parent for other in among}) > 1:
        parts.append(f"cut from weights {_weights(block, among)}")
    return ", ".join(parts)


def _weights(block: Block, among: list[Block]) -> str:
    """Their text, of a file its name alone where that tells them from others; their base's id where nothing else does.

    The same path may hold other weights than before.
    """
    others = [other for other in among if other.weights and other.parent != block.parent]
    brief = block.weights.rpartition("/")[2]
    if brief not in [other.weights.rpartition("/")[2] for other in others]:
        return brief
    same = [other for other in others if (other.weights, _network(other)) == (block.weights, _network(block))]
    return f"{block.weights} (base {block.parent[:8]})" if same else block.weights


def _network(block: Block) -> str:
    return str(block.runs["network"].iloc[0])


def _of_copies(block: Block, name: str) -> str:
    """What all copies of a block have in a column, as text."""
    value = block.runs.loc[block.runs["n"] > 0, name].iloc[0]
    return "all" if pd.isna(value) else str(value)


_TOLD = {
    "examples_per_class": "{} images per class",
    "recipe": "recipe {}",
    "semantics": "semantics {}",
    "rule": "images listed and prepared by rule {}",
    "base_recipe": "cut from bases of recipe {}",
    "base_examples": "cut from bases on {} images per class",
}
