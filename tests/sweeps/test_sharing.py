"""The sweeps fuse and branch: which runs, and what is refused."""

import pytest

from sweeps import arguments
from sweeps.branch import branch
from sweeps.fuse import fuse
from sweeps.running.plan import packs
from yosinski.data import find, halves
from yosinski.errors import BadInput
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run


def test_fuse_has_both_inputs_alone_and_every_control_at_every_n() -> None:
    names = [run.name for run in fuse()]
    controls = [f"{mark}{n}A" for mark in ("xy", "xx", "xz", "x~y") for n in range(8)]
    assert names == ["basexA", "baseyA", *controls]


def test_branch_scores_both_tasks_and_leaves_out_what_bases_are() -> None:
    names = [run.name for run in branch()]
    controls = [f"{mark}{n}{mark[0]}" for mark in ("AB", "AA", "BB", "A~B", "B~A") for n in range(1, 8)]
    assert names == ["baseA", "baseB", *controls]
    assert "AB0A" in [run.name for run in branch(cuts=(0, 3))]


def test_bases_are_those_of_other_sweeps() -> None:
    split = halves.split(find.card("emoji"), "random:0")
    assert branch()[0].id == Run("alexnet32", split.a, EMOJI).id
    recipe = EMOJI.with_values({"gradient": "sum"})
    assert branch(recipe=recipe)[0].id == branch()[0].id
    assert branch(recipe=recipe)[2].id != branch()[2].id


def test_controls_differ_in_one_thing_only() -> None:
    runs = {run.name: run for run in fuse(cuts=(3,))}
    assert len({run.parts for name, run in runs.items() if "3" in name}) == 1  # they start from the same weights
    assert len({run.id for run in runs.values()}) == len(runs)


def test_networks_with_the_same_partners_are_trained_together() -> None:
    assert sorted(len(pack.runs) for pack in packs(fuse(), workers=1)) == [1, 1, 8, 8, 8, 8]


def test_questions_about_the_same_pictures() -> None:
    _, base, *others = branch(asks=("class", "domain"), cuts=(3,))
    assert base.half.labels == ("noto", "noto-v1", "twemoji", "emojione")
    assert others[0].parts[0] == others[0].parts[1]


def test_more_than_two_questions() -> None:
    runs = {run.name: run for run in branch(asks=("class", "domain", "group"), scored=("A", "C"), cuts=(3,))}
    controls = ["AAA3A", "CCC3C", "A~B~C3A", "C~A~B3C"]
    assert list(runs) == ["baseA", "baseB", "baseC", "ABC3A", *controls]
    two = {run.name: run.id for run in branch(asks=("class", "domain"), cuts=(3,))}
    assert [runs[name].id for name in ("baseA", "baseB")] == [two[name] for name in ("baseA", "baseB")]
    assert [len(set(runs[name].parts)) for name in ("ABC3A", "AAA3A", "A~B~C3A")] == [1, 3, 1]


@pytest.mark.parametrize(
    ("sweep", "texts", "message"),
    [
        (fuse, ["x=noto", "y=noto"], "inputs x and y are both noto"),
        (fuse, ["y=mine"], "unknown domain of emoji or data set 'mine'; choose from: noto"),
        (fuse, ["x=grey"], "input x cannot be grey, only y, which is x without its colours; choose from: noto"),
        (fuse, ["tower=alexnet32"], "tower alexnet32 is a network for texts, and input y, noto, has pictures"),
        (fuse, ["cuts=9"], r"no cut 9; it has 7: 1 \(conv1\) to 7 \(fc7\); or 0, the input"),
        (fuse, ["controls=twin"], "twin"),
        (fuse, ["halves=C"], "unknown half 'C'"),
        (branch, ["asks=class"], "takes different questions, such as class,domain, not class"),
        (branch, ["asks=class,domain,class"], "takes different questions"),
        (branch, ["asks=class,colour"], "unknown question to emoji 'colour'; choose from: class, domain, group"),
        (branch, ["scored=C"], "unknown task in parameter scored 'C'; choose from: A, B"),
        (branch, ["recipe.step=1/1/1", "recipe=emoji"], "has numbers for 3 of 2 tasks"),
        (branch, ["recipe.step=0.5", "recipe=emoji"], "recipe.step has numbers for 1 of 2 tasks"),
        (fuse, ["recipe.join=logits", "recipe=emoji"], "joins outputs, at n = 7"),
        (fuse, ["recipe.join=sum", "recipe=emoji"], "recipe.join"),
    ],
)
def test_bad_input(sweep: object, texts: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sweep(**arguments(sweep, texts))  # pyright: ignore
