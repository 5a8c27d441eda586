"""Plans: what is to be run in which order and together."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic

from sweeps.running.local import Queue
from sweeps.running.plan import START, Pack, divide, packs, plan
from yosinski import files
from yosinski.data import find
from yosinski.data.half import Half
from yosinski.environment import Where
from yosinski.experiment.cost import cost, in_pack, memory
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs

pytestmark = pytest.mark.usefixtures("card_of_emoji")

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
BASES = BASE_A, BASE_B


def names(runs: Iterable[Run]) -> list[str]:
    return [run.name for run in runs]


# ---------------------------------------------------------------------------------------------------------------- order


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


# ---------------------------------------------------------------------------------------------------------------- packs


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


def sizes(runs: list[Run], workers: int) -> list[int]:
    return [len(pack.runs) for pack in packs(runs, workers)]


def test_groups_are_divided_until_a_pack_takes_half_of_a_workers_share() -> None:
    frozen = [synthetic.copy(BASE_A, B, n) for n in range(1, 8)]
    others = [synthetic.copy(BASE_B, B, n) for n in range(1, 8)]
    assert sizes(frozen, 100) == [1] * 7
    assert sizes(frozen + others, 1) == [7, 7]
    assert sum((pack.runs for pack in packs(frozen, 2)), ()) == tuple(frozen)
    assert packs([], 3) == ()
    seeds = [replace(copy, seed=seed) for seed in range(20) for copy in frozen]
    assert sizes(seeds, 2) == [7] * 20  # there is enough to do


def test_packs_are_divided_by_what_they_cost() -> None:
    """Nine frozen copies take less than two tuned ones: in packs of nine one of two workers would wait."""
    copies = [synthetic.copy(BASE_A, B, n, plus) for plus in (False, True) for n in range(1, 8)]
    made = plan([BASE_A, *copies], Path("none"), 2)
    takes = [sum(map(made.seconds, pack.runs)) for pack in made.packs[1:]]
    assert [run for pack in made.packs[1:] for run in pack.runs] == copies
    assert made.packs[1].runs == tuple(copies[:7])  # all frozen ones together
    assert max(takes) <= sum(takes) / len(takes) + max(map(made.seconds, copies))
    begun = sum(map(made.seconds, [BASE_A])) + START
    assert made.total_seconds < begun + 1.2 * (sum(takes) / 2 + 2 * START)


def test_no_part_is_larger_than_asked_and_the_longest_is_as_short_as_can_be() -> None:
    runs = [replace(BASE_A, seed=seed) for seed in range(6)]
    numbers = lambda *given: [len(part) for part in divide(runs, *given)]  # noqa: E731
    assert numbers([1, 1, 1, 1, 1, 5], 2) == [5, 1]
    assert numbers([5, 1, 1, 1, 1, 1], 2) == [1, 5]
    assert numbers([1, 1, 1, 1, 1, 5], 2, 4) == [4, 2]
    assert numbers([1, 1, 1, 1, 1, 5], 1) == [6]
    assert numbers([1] * 6, 100) == [1] * 6
    assert numbers([0.0] * 6, 3) == [6]


def test_the_names_of_packs_are_short() -> None:
    copies = {n: synthetic.copy(BASE_A, B, n) for n in range(1, 8)}
    tuned = {n: replace(copy, treatment="tuned") for n, copy in copies.items()}
    assert Pack((BASE_A,)).name == "baseA"
    assert Pack((copies[3],)).name == "A3B"
    assert Pack(tuple(copies.values())).name == "A1-7B"
    assert Pack((copies[1], copies[3], copies[4])).name == "A1,3,4B"
    assert Pack((copies[1], copies[2], tuned[2], tuned[5])).name == "A1-2B A2,5B+"
    assert Pack((BASE_B.copy(2, "random", below="xavier"),)).name == "R2B"
    x, y = (replace(BASE_A.half, domain=(domain,), input=name) for domain, name in (("noto", "x"), ("twemoji", "y")))
    fused = replace(BASE_A, half=x, treatment="fused", partners=(y,))
    assert Pack(tuple(replace(fused, cut=n) for n in (0, 1, 3))).name == "xy0,1,3A"
    late = BASE_A.recipe.with_values({"join": "logits"})
    assert Pack((replace(fused, cut=7, recipe=late),)).name == "xy7A"  # which no other n could have


def test_the_names_of_packs_of_halves_without_letters_are_short_too() -> None:
    halves = [Half("emoji", "f00d", (f"{k}", "x"), ("noto",)) for k in range(60)]
    half = next(half for half in halves if "2" in half.digest[:4])  # a digit that is also a cut
    base = synthetic.base(half)
    assert Pack(tuple(synthetic.copy(base, B, n) for n in (1, 2, 3))).name == f"{half.digest[:4]}1-3B"


# --------------------------------------------------------------------------------------------------------------- states


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


def test_what_is_done_of_a_run_takes_no_more_time(tmp_path: Path) -> None:
    whole = plan([BASE_A], tmp_path, 1).seconds(BASE_A)
    attempt = attempts.claim(tmp_path, BASE_A)
    assert attempt is not None
    attempt.beat(30, 40)
    assert plan([BASE_A], tmp_path, 1).seconds(BASE_A) == pytest.approx(whole / 4)
    attempt.release()
    interrupted = plan([BASE_A], tmp_path, 1)
    assert interrupted.states[BASE_A.id] == "interrupted"
    assert interrupted.seconds(BASE_A) == pytest.approx(whole / 4)


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


# -------------------------------------------------------------------------------------------------- time, and all of it


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


def test_costs_are_those_of_each_run_and_pack_although_seeds_share_them(tmp_path: Path) -> None:
    few = synthetic.RECIPE.with_values({"batch_size": 16})
    runs = [
        copy
        for base in (BASE_A, BASE_B, replace(BASE_A, recipe=few), replace(BASE_A, seed=1))
        for other in (replace(base, seed=base.seed), replace(base, seed=5, examples_per_class=2))
        for copy in (other, *(other.copy(n, kind, base) for n in (2, 5) for kind in ("frozen", "tuned", "thawed")))
    ]
    runs += [BASE_B.copy(2, "random", below=below) for below in ("kaiming", "xavier")]
    runs += [BASE_B.copy(2, "frozen", BASE_A, preserved=k) for k in (0, 1, 2)]
    made = plan(runs, tmp_path, 1)
    card = find.card("emoji")
    assert made.costs == {run.id: cost(run, card) for run in made.runs}
    assert len({found.flops for found in made.costs.values()}) > 8
    of_packs = {
        run.id: flops for pack in made.packs for run, flops in zip(pack.runs, in_pack(pack.runs, card), strict=True)
    }
    assert made.caused == of_packs
    assert made.most_memory == max(memory(pack.runs, card) for pack in made.packs)


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
    assert content["packs"] == [
        {"runs": [copy.id], "parents": [BASE_A.id], "seconds": seconds, "memory": made.memory(made.packs[0])}
    ]
