"""Plans and sweeps: what is to be run in which order and together, and how sweeps are found and given arguments."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import synthetic

import sweeps
from sweeps import plan as planning
from sweeps.figure2 import figure2
from sweeps.local import Queue
from sweeps.plan import START, Pack, packs, plan
from sweeps.speeds import A_STEP, ASSUMED_GPU_SPEED, ASSUMED_SPEED, Device, expected, measured
from sweeps.transfer import transfer
from yosinski import data, files
from yosinski.data import find, halves
from yosinski.data.half import Half
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.cost import cost, in_pack
from yosinski.experiment.recipes import EMOJI, FINETUNE, SKETCH, Recipe
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
BASES = BASE_A, BASE_B


@pytest.fixture(autouse=True)
def card_of_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is asked for once per run; reading the pictures once is enough here."""
    card = find.card("emoji")
    monkeypatch.setattr(data, "card", lambda name: card)


def names(runs: Iterable[Run]) -> list[str]:
    return [run.name for run in runs]


# --------------------------------------------------------------------------------------------------------------- order


def test_bases_come_before_their_copies_each_run_once(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, 2), synthetic.copy(BASE_B, B, 2)]
    made = plan([copies[0], BASE_B, copies[1], copies[0], BASE_A], tmp_path, 1)
    assert names(made.runs) == ["baseA", "A2B", "baseB", "B2B"]
    assert len(plan([*made.runs, *made.runs], tmp_path, 1).runs) == 4
    assert set(made.states.values()) == {"missing"}
    assert not list(tmp_path.iterdir())  # planning writes nothing


def test_sweeps_share_bases_whatever_they_call_the_halves(tmp_path: Path) -> None:
    other = replace(BASE_B, half=replace(B, letter="A", split="random:1"))
    assert len(plan([*BASES, other], tmp_path, 1).runs) == 2


def test_figure2_is_the_papers_grid(tmp_path: Path) -> None:
    runs = plan(figure2(), tmp_path, 2).runs
    assert len(runs) == 2 + 2 * 4 * 7
    assert sorted(names(runs))[:4] == ["A1A", "A1A+", "A1B", "A1B+"]
    assert len({run.name for run in runs}) == 58
    assert names(figure2(directions=("AB",), cuts=(3,))) == ["baseB", "baseA", "B3B", "A3B", "B3B+", "A3B+"]
    assert names(figure2(directions=("BA",), cuts=(3,), treatments=("frozen",), random=("xavier",))) == [
        "baseA",
        "baseB",
        "A3A",
        "B3A",
        "R3A",
    ]
    assert len(plan(figure2(splits=("random:0", "random:1"), seeds=(0, 1)), tmp_path, 2).runs) == 4 * 58


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"directions": ("AC",)}, "unknown direction 'AC'; choose from: AB, BA"),
        ({"treatments": ("base",)}, "unknown treatment 'base'; choose from: frozen, tuned"),
        ({"treatments": ()}, "parameter treatments is empty"),
        ({"seeds": ()}, "parameter seeds is empty"),
        ({"cuts": (8,)}, r"alexnet32 has no cut 8; it has 7: 1 \(conv1\) to 7 \(fc7\)"),
        ({"cuts": ()}, "parameter cuts is empty"),
        ({"network": "vgg"}, "unknown network 'vgg'; near it: vgg"),
        ({"data": "mnist"}, "unknown data set 'mnist'"),
        ({"splits": ("odd",)}, "unknown split 'odd'"),
    ],
)
def test_figure2_refuses_what_does_not_exist(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(BadInput, match=message):
        figure2(**given)


# --------------------------------------------------------------------------------------------------------------- packs


def test_a_pack_shares_target_seed_role_recipe_examples_and_parent() -> None:
    first = synthetic.copy(BASE_A, B, 2)
    together = [first, replace(first, cut=5), replace(first, treatment="tuned"), replace(first, cut=7)]
    apart = [
        replace(first, half=A),
        replace(first, seed=1),
        replace(first, parent=replace(BASE_A, seed=1)),
        replace(first, parent=BASE_B),
        replace(first, recipe=synthetic.RECIPE.with_values({"clip": 2.0})),
        replace(first, examples_per_class=3),
        BASE_B,  # same target and seed, but bases draw other batches
        BASE_B.copy(2, "random", below="xavier"),
        BASE_B.copy(2, "random", below="gaussian"),
    ]
    made = packs([together[0], *apart, *together[1:]], workers=1)
    assert [pack.runs for pack in made] == [tuple(together), *((run,) for run in apart)]
    assert made[0].parents == (BASE_A,)
    assert made[7].parents == ()


def test_groups_are_split_until_every_worker_has_two_packs() -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in range(1, 8)]
    sizes = lambda workers, runs=copies: [len(pack.runs) for pack in packs(runs, workers)]  # noqa: E731
    assert sizes(1) == [4, 3]
    assert sizes(2) == [2, 2, 2, 1]
    assert sizes(3) == [2, 2, 2, 1]
    assert sizes(100) == [1] * 7
    others = [synthetic.copy(BASE_B, B, n) for n in range(1, 8)]
    assert sizes(1, copies + others) == [7, 7]
    assert sizes(2, copies + others) == [4, 3, 4, 3]
    assert sum((pack.runs for pack in packs(copies, 2)), ()) == tuple(copies)
    assert packs([], 3) == ()


def test_the_names_of_packs_are_short() -> None:
    copies = {n: synthetic.copy(BASE_A, B, n) for n in range(1, 8)}
    tuned = {n: replace(copy, treatment="tuned") for n, copy in copies.items()}
    assert Pack((BASE_A,)).name == "baseA"
    assert Pack((copies[3],)).name == "A3B"
    assert Pack(tuple(copies.values())).name == "A1-7B"
    assert Pack((copies[1], copies[3], copies[4])).name == "A1,3,4B"
    assert Pack((copies[1], copies[2], tuned[2], tuned[5])).name == "A1-2B A2,5B+"
    assert Pack((BASE_B.copy(2, "random", below="xavier"),)).name == "R2B"


def test_the_names_of_packs_of_halves_without_letters_are_short_too() -> None:
    halves = [Half("emoji", "f00d", (f"{k}", "x"), ("noto",)) for k in range(60)]
    half = next(half for half in halves if "2" in half.digest[:4])  # a digit that is also a cut
    base = synthetic.base(half)
    assert Pack(tuple(synthetic.copy(base, B, n) for n in (1, 2, 3))).name == f"{half.digest[:4]}1-3B"


# -------------------------------------------------------------------------------------------------------------- states


def test_what_is_done_is_not_left(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in (1, 2, 3)]
    synthetic.finish(tmp_path, BASE_A, 0.7, seconds=1.0)
    synthetic.finish(tmp_path, copies[0], 0.7, seconds=1.0)
    attempt = attempts.claim(tmp_path, copies[1])
    assert attempt is not None
    made = plan([*BASES, *copies], tmp_path, 1)
    assert [made.states[run.id] for run in made.runs] == ["done", "missing", "done", "running", "missing"]
    assert names(made.left) == ["baseB", "A2B", "A3B"]
    attempt.fail("the cable was pulled")
    assert plan(copies, tmp_path, 1).states[copies[1].id] == "failed"
    synthetic.finish(tmp_path, copies[1], None, state="diverged", seconds=1.0)
    assert names(plan([*BASES, *copies], tmp_path, 1).left) == ["baseB", "A3B"]


@pytest.mark.parametrize("bad", ["stuck", "diverged"])
def test_copies_of_a_bad_base_are_blocked_until_the_base_is_mended(bad: str, tmp_path: Path) -> None:
    early, late, new = (synthetic.copy(BASE_A, B, n) for n in (1, 2, 3))
    synthetic.finish(tmp_path, early, 0.7, seconds=1.0)  # was cut from the base before
    attempt = attempts.claim(tmp_path, late)
    assert attempt is not None
    attempt.finish({"state": "blocked", "reason": f"its base is {bad}"})
    synthetic.finish(tmp_path, BASE_A, 0.2, state=bad)
    blocked = plan([BASE_A, early, late, new], tmp_path, 1)
    assert [blocked.states[run.id] for run in blocked.runs] == [bad, "done", "blocked", "blocked"]
    assert blocked.left == []
    assert blocked.packs == ()

    (specs.folder(tmp_path, BASE_A.id) / "record.json").unlink()
    mended = plan([BASE_A, early, late, new], tmp_path, 1)
    assert [mended.states[run.id] for run in mended.runs] == ["interrupted", "done", "missing", "missing"]
    assert names(mended.left) == ["baseA", "A2B", "A3B"]


def test_a_blocked_copy_is_started_once_its_base_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = synthetic.copy(BASE_A, B, 2)
    attempt = attempts.claim(tmp_path, copy)
    assert attempt is not None
    attempt.finish({"state": "blocked", "reason": "its base is stuck"})
    synthetic.finish(tmp_path, BASE_A, 0.7, seconds=1.0)
    made = plan([BASE_A, copy], tmp_path, 1)
    assert names(made.left) == ["A2B"]
    started: list[Pack] = []
    monkeypatch.setattr(Queue, "_start", lambda self, worker, pack: started.append(pack))
    queue = Queue(made, Where(tmp_path, tmp_path), [None])
    queue.turn()
    assert [pack.name for pack in started] == ["A2B"]


def test_a_damaged_record_stops_a_plan_by_name(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE_A, 0.7, seconds=1.0)
    record = specs.folder(tmp_path, BASE_A.id) / "record.json"
    synthetic.damage(record)
    with pytest.raises(files.Damaged, match=f"^{record} is damaged$"):
        plan(BASES, tmp_path, 1)


# ------------------------------------------------------------------------------------------------------------ estimates


def test_without_records_the_estimate_rests_on_an_assumed_speed(tmp_path: Path) -> None:
    made = plan([BASE_A], tmp_path, 1)
    assert made.speeds.basis == "an assumed 30 GFLOP/s per worker; nothing has been measured yet"
    assert made.seconds(BASE_A) == made.costs[BASE_A.id].flops / ASSUMED_SPEED
    assert made.total_seconds == made.seconds(BASE_A) + START


def test_estimates_rest_on_the_median_of_this_sweeps_records_by_treatment(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in (1, 2, 3, 4)]
    synthetic.finish(tmp_path, BASE_A, 0.7, flops=10**12, seconds=10.0)
    for copy, seconds in zip(copies, (10.0, 20.0, 100.0), strict=False):
        synthetic.finish(tmp_path, copy, 0.7, flops=10**13, seconds=seconds)
    synthetic.finish(tmp_path, replace(BASE_B, seed=9), 0.7, flops=10**15, seconds=1.0)  # of another sweep
    made = plan([BASE_A, BASE_B, *copies, replace(copies[0], treatment="tuned")], tmp_path, 1)
    assert made.speeds.measured == {("alexnet32", "base"): 1e11, ("alexnet32", "frozen"): 5e11}
    assert made.speeds.basis == f"4 finished runs in {tmp_path}"
    assert made.seconds(BASE_B) == made.costs[BASE_B.id].flops / 1e11
    assert made.speeds.of(made.runs[-1]) == 3e11  # no tuned one yet: the median of the others

    fresh = plan([BASE_B], tmp_path, 1)  # nothing of this sweep is done: any record will do
    assert fresh.speeds.basis == f"5 finished runs in {tmp_path}"


def test_runs_that_did_not_end_well_do_not_count_as_measured(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE_A, 0.2, state="stuck", seconds=1e-9)
    assert plan(BASES, tmp_path, 1).speeds.measured == {}


def timed(runs: Path, run: Run, pack: list[Run], flop: float, step: float, **values: Any) -> None:
    """A record of a run that took so long for every FLOP that it caused in its pack, and for every step."""
    card = find.card("emoji")
    its, alone = in_pack(pack, card)[pack.index(run)], cost(run, card)
    seconds = flop * its + step * alone.steps
    told = {"flops": alone.flops, "pack_flops": its, "steps": alone.steps, "seconds": seconds, "seconds_by": "time"}
    synthetic.finish(runs, run, 0.7, **{**told, "pack": len(pack), **values})


def test_frozen_and_tuned_copies_are_estimated_from_records_of_both(tmp_path: Path) -> None:
    """By what they cause in their packs: half as much below the cuts in one pack of frozen copies as in two."""
    a, b = (replace(half, classes=find.card("emoji").classes[k::20]) for k, half in enumerate((A, B)))
    bases = synthetic.base(a), synthetic.base(b)
    mixed = [synthetic.copy(bases[0], b, n, plus) for n in range(1, 8) for plus in (False, True)]
    for base in bases:
        timed(tmp_path, base, [base], 2e-11, 3e-3)
    for copy in mixed:
        timed(tmp_path, copy, mixed, 2e-11, 3e-3)
    for plus in (False, True):
        others = [replace(copy, seed=1) for copy in mixed if (copy.treatment == "tuned") == plus]
        made = plan([*bases, *mixed, *others], tmp_path, 1)
        truly = [
            2e-11 * flops + 3e-3 * cost(run, find.card("emoji")).steps
            for pack in made.packs
            for run, flops in zip(pack.runs, in_pack(pack.runs, find.card("emoji")), strict=True)
        ]
        assert [made.seconds(run) for run in made.left] == pytest.approx(truly, rel=0.05)


def test_bases_alone_cannot_tell_steps_from_flops(tmp_path: Path) -> None:
    a, b = (replace(half, classes=find.card("emoji").classes[k::20]) for k, half in enumerate((A, B)))
    bases = synthetic.base(a), synthetic.base(b)
    for base in bases:
        timed(tmp_path, base, [base], 2e-11, 0.0)
    made = plan([*bases, synthetic.copy(bases[0], b, 7)], tmp_path, 1)
    speed = made.speeds.fits["alexnet32"]
    assert speed.step == pytest.approx(A_STEP, rel=0.1)
    assert made.seconds(bases[0]) == pytest.approx(2e-11 * made.costs[bases[0].id].flops, rel=0.01)


def test_even_shares_of_earlier_versions_do_not_mix_with_what_runs_caused(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in (1, 2, 3)]
    synthetic.finish(tmp_path, BASE_A, 0.7, flops=10**12, seconds=10.0)
    assert plan([BASE_A], tmp_path, 1).speeds.measured == {("alexnet32", "base"): 1e11}
    timed(tmp_path, copies[0], copies, 2e-11, 3e-3)
    resumed = {"seconds": 1e9, "seconds_by": "pack"}  # from a checkpoint of an earlier version
    timed(tmp_path, copies[1], copies, 2e-11, 3e-3, **resumed)
    made = plan([BASE_A, *copies], tmp_path, 1)
    assert made.speeds.measured == {}
    assert made.speeds.fits["alexnet32"].flop < 1e-10


def device(kind: str, precision: str, name: str) -> dict[str, Any]:
    where = {"processor": "a CPU", "gpu": name} if kind == "cuda" else {"processor": name}
    return {"arithmetic": {"dtype": precision, "device": kind, "threads": 1}, "environment": where}


def test_speeds_are_those_of_the_device_that_a_plan_is_for(tmp_path: Path) -> None:
    for k, (seconds, told) in enumerate(
        [(1.0, ("cuda", "bfloat16", "H")), (10.0, ("cpu", "bfloat16", "X")), (30.0, ("cpu", "float32", "X"))]
    ):
        run = replace(BASE_A, seed=k)
        synthetic.finish(tmp_path, run, 0.7, flops=10**12, seconds=seconds, **device(*told))
    speed = lambda *told: measured(tmp_path, [], Device(*told)).of(BASE_A)  # noqa: E731
    assert speed("cuda", None, None) == speed("cuda", "bfloat16", "H") == 1e12
    assert speed("cpu", "bfloat16", "X") == 1e11
    assert speed("cpu", "float32", "X") == pytest.approx(1e12 / 30)
    assert measured(tmp_path, [], Device("cpu", "bfloat16", "Y")).basis == (
        f"1 finished runs in {tmp_path}, all on other processors"
    )
    assert "in another precision" in measured(tmp_path, [], Device("cuda", "float32")).basis
    nothing = measured(tmp_path, [], Device("mps", "float32"))
    assert nothing.of(BASE_A) == ASSUMED_GPU_SPEED
    assert nothing.basis == "an assumed 2,500 GFLOP/s per GPU; nothing has been measured yet on such a device"
    assert len(measured(tmp_path, []).measured) == 1  # where nothing is known of the plan's device, all count


def test_the_device_of_a_plan_is_known_as_far_as_it_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.speeds.processor", lambda: "X")
    for fast, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("sweeps.speeds.cpu_has_bfloat16", lambda fast=fast: fast)
        assert expected("cpu") == Device("cpu", precision, "X")
    assert expected("cpu", "bfloat16") == Device("cpu", "bfloat16", "X")
    assert expected("cuda") == Device("cuda")
    assert expected("cpu", here=False) == Device("cpu")


def test_workers_share_the_time_but_no_pack_is_faster_than_itself(tmp_path: Path) -> None:
    runs = [replace(base, seed=seed) for base in BASES for seed in (0, 1)]
    one, two, many = (plan(runs, tmp_path, workers) for workers in (1, 2, 100))
    alone = one.seconds(runs[0]) + START
    assert one.total_seconds == pytest.approx(4 * alone)
    assert two.total_seconds == pytest.approx(2 * alone)
    assert many.total_seconds == pytest.approx(alone)
    assert plan([], tmp_path, 2).total_seconds == 0


def test_a_copy_waits_for_its_base_however_many_workers_there_are(tmp_path: Path) -> None:
    copy = synthetic.copy(BASE_A, B, 2, plus=True)
    made = plan([BASE_A, copy], tmp_path, 100)
    assert made.total_seconds == pytest.approx(made.seconds(BASE_A) + made.seconds(copy) + 2 * START)


def test_a_plan_as_json_is_as_documented(tmp_path: Path) -> None:
    copy = synthetic.copy(BASE_A, B, 2)
    synthetic.finish(tmp_path, BASE_A, 0.7, seconds=1.0)
    made = plan([BASE_A, copy], tmp_path, 3)
    content = json.loads(json.dumps(made.as_json()))
    assert (content["done"], content["left"], content["workers"]) == (1, 1, 3)
    assert content["basis"] == f"1 finished runs in {tmp_path}"
    assert [run["id"] for run in content["runs"]] == [BASE_A.id, copy.id]
    cost, seconds = made.costs[copy.id], round(made.seconds(copy), 1)
    assert content["runs"][1] == {
        "id": copy.id,
        "name": "A2B",
        "state": "missing",
        "stale": False,
        "parent": BASE_A.id,
        "cut": 2,
        "treatment": "frozen",
        "parameters": cost.parameters,
        "trained_parameters": cost.trained_parameters,
        "flops": cost.flops,
        "seconds": seconds,
    }
    assert content["packs"] == [{"runs": [copy.id], "parents": [BASE_A.id], "seconds": seconds}]


# -------------------------------------------------------------------------------------------------------------- sweeps


def toy(
    name: str = "x",
    count: int = 1,
    rate: float = 0.5,
    flag: bool = False,
    cuts: tuple[int, ...] | None = None,
    letters: tuple[str, ...] = (),
    kind: Literal["frozen", "tuned"] = "frozen",
    kinds: tuple[Literal["frozen", "tuned"], ...] = (),
    examples: int | None = None,
    recipe: Recipe = EMOJI,
) -> list[Run]:
    """One parameter of every sort."""
    return []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("name=a=b", "a=b"),
        ("name=", ""),
        ("count=-3", -3),
        ("rate=1e-3", 0.001),
        ("flag=true", True),
        ("flag=false", False),
        ("cuts=3,5", (3, 5)),
        ("cuts=all", None),
        ("letters=AB,BA", ("AB", "BA")),
        ("letters=", ()),
        ("kind=tuned", "tuned"),
        ("kinds=tuned,frozen", ("tuned", "frozen")),
        ("examples=none", None),
        ("examples=5", 5),
        ("recipe=sketch", SKETCH),
    ],
)
def test_texts_become_arguments_by_their_annotations(text: str, value: Any) -> None:
    found = sweeps.arguments(toy, [text])
    assert found == {text.partition("=")[0]: value}
    assert type(found[text.partition("=")[0]]) is type(value)


def test_values_of_the_recipe_change_the_recipe_in_any_order() -> None:
    wanted = {"recipe": SKETCH.with_values({"epochs": 3.0, "augment": False, "initialiser": "xavier"})}
    values = ["recipe.epochs=3", "recipe.augment=false", "recipe.initialiser=xavier"]
    assert sweeps.arguments(toy, ["recipe=sketch", *values]) == wanted
    assert sweeps.arguments(toy, [*values, "recipe=sketch"]) == wanted
    assert sweeps.arguments(toy, ["recipe.clip=2"]) == {"recipe": EMOJI.with_values({"clip": 2.0})}
    assert sweeps.arguments(toy, []) == {}


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["recipe.mirror=false"], {"mirror": False}),
        (["recipe.optimiser=adamw"], {"optimiser": "adamw"}),
        (["recipe.label_smoothing=0.1"], {"label_smoothing": 0.1}),
        (["recipe.least_area=0.08", "recipe.aspect=1.333"], {"least_area": 0.08, "aspect": 1.333}),
        (["recipe.least_area=0.08", "recipe.most_area=0.5"], {"least_area": 0.08, "most_area": 0.5}),
        (["recipe.least_area=1", "recipe.mirror=true", "recipe.label_smoothing=0"], {"least_area": 1.0}),
    ],
)
def test_values_that_came_later_are_given_like_others_and_described_where_they_are_not_as_before(
    texts: list[str], values: dict[str, Any]
) -> None:
    found = sweeps.arguments(transfer, ["network=resnet18", *texts])
    assert found["recipe"] == FINETUNE.with_values(values)
    described = sweeps.describe(transfer, {"data": "emoji", **found})["recipe"]
    assert described == {**FINETUNE.values, **values}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count", "parameter 'count' must be given as name=value"),
        ("counts=3", "unknown parameter 'counts'; choose from: name, count, rate, flag, cuts"),
        ("count=three", "parameter count takes int, not 'three'"),
        ("count=1.5", "parameter count takes int, not '1.5'"),
        ("rate=fast", "parameter rate takes float, not 'fast'"),
        ("cuts=1,x", "parameter cuts takes int, not 'x'"),
        ("flag=yes", "unknown value of flag 'yes'; choose from: true, false"),
        ("kind=thawed", "unknown value of kind 'thawed'; choose from: frozen, tuned"),
        ("kinds=tuned,thawed", "unknown value of kinds 'thawed'"),
        ("recipe=imagenet", "unknown recipe 'imagenet'; choose from: emoji, sketch"),
        ("recipe.epoch=3", "unknown recipe value 'epoch'; choose from: epochs"),
        ("recipe.epochs=many", "recipe.epochs takes a float, not 'many'"),
        ("recipe.augment=1", "recipe.augment takes a bool, not 1"),
        ("recipe.epochs=nan", "recipe.epochs is nan"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sweeps.arguments(toy, [text])


def test_a_sweep_without_a_recipe_has_no_values_of_one() -> None:
    with pytest.raises(BadInput, match=r"unknown parameter 'recipe.epochs'; choose from: seed"):
        sweeps.arguments(lambda seed=0: [], ["recipe.epochs=3"])


def test_all_parameters_are_described_as_json_values() -> None:
    described = sweeps.describe(toy, {"count": 3, "recipe": SKETCH})
    assert json.loads(json.dumps(described))["recipe"]["epochs"] == 4.0
    assert described["count"] == 3
    assert described["name"] == "x"
    assert list(described) == list(toy.__annotations__)[:-1]


def test_sweeps_are_found_by_name() -> None:
    assert sweeps.find("figure2") is figure2
    with pytest.raises(BadInput, match=r"unknown sweep 'figure9'; choose from: figure2, .*, or a path to a \.py file"):
        sweeps.find("figure9")


USERS = """
from yosinski import Half, Run, SKETCH

HALF = Half("emoji", "f00d", ("ant", "bat"), ("noto",))

def _helper():
    return None

def mine(seeds: tuple[int, ...] = (0,)) -> list[Run]:
    return [Run("alexnet32", HALF, SKETCH, seed) for seed in seeds]
"""


def test_a_users_own_file_holds_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(USERS)
    sweep = sweeps.find(str(file))
    runs = sweep(**sweeps.arguments(sweep, ["seeds=3,4"]))
    assert [run.seed for run in runs] == [3, 4]
    assert len(plan(runs, tmp_path, 1).runs) == 2
    file.write_text(USERS + "\ndef sweep() -> list[Run]:\n    return []\n")
    assert sweeps.find(str(file))() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (USERS + "\ndef other():\n    return []\n", r"my_sweep\.py must define one function.*it defines: mine, other$"),
        ("from yosinski import split\n", "it defines: none$"),
        ("def f(:\n", r"my_sweep\.py cannot be loaded: SyntaxError"),
        (
            "import nowhere_to_be_found\n",
            r"my_sweep\.py cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'$",
        ),
        (
            "from yosinski.recipes import EMOJI\n",
            r"No module named 'yosinski\.recipes' \(yosinski has: EMOJI, .*, Run, .*split\)$",
        ),
        ("from yosinski import recipe\nrecipe('x')\n", "unknown recipe 'x'; choose from"),
    ],
)
def test_a_users_file_without_a_sweep_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(content)
    with pytest.raises(BadInput, match=message):
        sweeps.find(str(file))


def test_a_users_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"no sweep file {tmp_path / 'nowhere.py'}"):
        sweeps.find(str(tmp_path / "nowhere.py"))


def test_a_users_file_may_hold_dataclasses_with_postponed_annotations(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
    file.write_text(head + "@dataclass\nclass Setting:\n    seed: int\n" + USERS)
    assert sweeps.find(str(file)).__name__ == "mine"


def test_other_ways_to_write_an_annotation_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(
        "from typing import Optional\n\ndef mine(count: Optional[int] = None, cuts: list[int] = []):\n    return []\n"
    )
    sweep = sweeps.find(str(file))
    assert sweeps.arguments(sweep, ["count=3"]) == {"count": 3}
    assert list(sweeps.arguments(sweep, ["cuts=1,2"])["cuts"]) == [1, 2]


def test_the_halves_of_a_real_split_have_distinct_bases(tmp_path: Path) -> None:
    split = halves.split(find.card("emoji"), "random:0")
    assert split.a.digest != split.b.digest
    made = planning.plan(figure2(cuts=(1,)), tmp_path, 1)
    targets = {run.half.digest for run in made.runs if run.treatment == "base"}
    assert targets == {split.a.digest, split.b.digest}
