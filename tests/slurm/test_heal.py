"""Healing: what brings failures home, and with what more than last time."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from safetensors.numpy import save_file
from watched import A2B, A3B, B2B, B2B_TUNED, BASE_A, BASE_B, PROFILE, B, Sweep, alone, mine, state_and_cause

from slurm import status
from slurm.heal import Healing, healing, set_aside, with_spoilt_bases
from slurm.profile import Profile
from slurm.status import Sight
from yosinski.errors import BadInput
from yosinski.networks import tensors
from yosinski.records import specs

# ------------------------------------------------------------------------------------------------------------- healing


def healed(found: Healing) -> dict[str, Profile]:
    """By name of a run that is submitted again, with what."""
    assert found.runs.keys() == found.profiles.keys()
    pairs = [(sight.entry.name, found.profiles[key]) for key, sights in found.runs.items() for sight in sights]
    assert len(dict(pairs)) == len(pairs), "a run is submitted twice"
    return dict(pairs)


def test_what_ran_out_of_memory_gets_twice_as_much_of_last_time_up_to_the_cap(sweep: Sweep) -> None:
    profile = PROFILE
    for job, memory in enumerate((8, 16), 1):
        sweep.submitted(f"{job}", alone(BASE_A), "OUT_OF_MEMORY", profile=profile)
        (profile,) = healed(healing(sweep.look(BASE_A), None)).values()
        assert profile.mebibytes("memory") == memory * 1024
        assert replace(profile, memory="4G", max_memory="") == PROFILE
    sweep.submitted("9", alone(BASE_A), "OUT_OF_MEMORY", profile=profile)
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [(sight.entry.name, reason) for sight, reason in found.hopeless] == [
        ("baseA", "out of memory at the profile's max_memory; raise it")
    ]


def test_what_ran_out_of_time_gets_twice_as_much_of_last_time_up_to_the_cap(sweep: Sweep) -> None:
    profile = replace(PROFILE, max_time="3:00:00")
    for job, minutes in enumerate((120, 180), 1):
        sweep.submitted(f"{job}", alone(BASE_A), "TIMEOUT", profile=profile)
        (profile,) = healed(healing(sweep.look(BASE_A), None)).values()
        assert profile.minutes("time") == minutes
        assert replace(profile, time="1:00:00", max_time="") == PROFILE
    sweep.submitted("9", alone(BASE_A), "TIMEOUT", profile=profile)
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [reason for _, reason in found.hopeless] == ["over the time limit at the profile's max_time; raise it"]


def test_what_ran_out_of_gpu_memory_is_trained_in_smaller_packs(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n, plus) for n in range(1, 8) for plus in (False, True))
    sweep.submitted("5", [copies], "FAILED")
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    again = healed(healing(sweep.look(BASE_A, *copies), None))
    assert len(again) == 14
    assert set(map(repr, again.values())) == {repr(replace(PROFILE, pack=7))}


@pytest.mark.parametrize(("pack", "last", "wanted"), [(14, 4, 2), (4, 14, 4), (14, 14, 7)])
def test_a_given_profile_with_larger_packs_than_last_time_does_not_make_them_larger(
    pack: int, last: int, wanted: int, sweep: Sweep
) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n, plus) for n in range(1, 8) for plus in (False, True))[:last]
    sweep.submitted("5", [copies], "FAILED", profile=replace(PROFILE, pack=last))
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    again = healed(healing(sweep.look(BASE_A, *copies), replace(PROFILE, pack=pack)))
    assert {profile.pack for profile in again.values()} == {wanted}


def test_a_pack_that_was_smaller_than_the_profile_allows_is_made_smaller_than_it_was(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n) for n in range(1, 5))
    sweep.submitted("5", [copies], "FAILED", profile=PROFILE)  # 4 runs, although 14 were allowed
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    (profile,) = {repr(each): each for each in healed(healing(sweep.look(BASE_A, *copies), None)).values()}.values()
    assert profile.pack < 4


def test_a_run_that_was_too_large_alone_is_tried_again_on_other_gpus_only(sweep: Sweep) -> None:
    """The job itself has trained its pack in ever smaller parts."""
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = (A2B, A3B)
    sweep.submitted("5", [copies], "FAILED")
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("too large for this GPU, even alone: out of GPU memory: CUDA ...")
    for profile in (None, replace(PROFILE, pack=1), replace(PROFILE, time="2:00:00")):
        found = healing(sweep.look(BASE_A, *copies), profile)
        assert found.runs == {}
        assert {reason.split(";")[0] for _, reason in found.hopeless} == {"out of GPU memory though trained alone"}
    larger = replace(PROFILE, constraint="h200")
    assert set(map(repr, healed(healing(sweep.look(BASE_A, *copies), larger)).values())) == {repr(larger)}


def test_a_run_that_was_alone_cannot_be_trained_in_a_smaller_pack(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "FAILED", profile=replace(PROFILE, pack=1))
    mine(sweep.runs, BASE_A, "slurm  5").fail("CUDA out of memory")
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]
    assert "GPU memory" in found.hopeless[0][1]
    assert "max_" not in found.hopeless[0][1]


def test_what_failed_otherwise_is_submitted_as_last_time(sweep: Sweep) -> None:
    other = replace(PROFILE, name="other", memory="9G")
    sweep.submitted("5", alone(BASE_A), "NODE_FAIL", profile=other)
    sweep.submitted("6", alone(BASE_B), "FAILED")
    mine(sweep.runs, BASE_B, "slurm  6").fail("the cable was pulled")
    seen = sweep.look(BASE_A, BASE_B)
    assert healed(healing(seen, None)) == {"baseA": other, "baseB": PROFILE}
    profile = replace(PROFILE, name="given", partition="there")
    assert healed(healing(seen, profile)) == {"baseA": profile, "baseB": profile}


def test_a_given_profile_with_more_than_last_time_is_taken_as_it_is(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "TIMEOUT")
    profile = replace(PROFILE, memory="4097M", time="61")
    assert healed(healing(sweep.look(BASE_A, BASE_B), profile)) == {"baseA": profile, "baseB": profile}


@pytest.mark.parametrize("memory", ["1G", "4G"])
def test_a_given_profile_with_no_more_than_last_time_is_raised(memory: str, sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "OUT_OF_MEMORY")
    profile = replace(PROFILE, name="given", memory=memory, max_memory="64G")
    (found,) = healed(healing(sweep.look(BASE_A), profile)).values()
    assert found.mebibytes("memory") == 8192
    assert (found.name, found.mebibytes("max_memory")) == ("given", 65536)
    found = healing(sweep.look(BASE_A), replace(profile, max_memory="4G"))
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]


def test_the_same_profile_given_again_and_again_does_not_lead_beyond_its_cap(sweep: Sweep) -> None:
    """Without max_memory there is fourfold of the profile's memory, not of what it has become meanwhile."""
    sweep.submitted("5", alone(BASE_A), "OUT_OF_MEMORY", profile=replace(PROFILE, memory="16384M", max_memory="16384M"))
    found = healing(sweep.look(BASE_A), PROFILE)
    assert [profile.memory for profile in found.profiles.values()] == []
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]


def test_time_is_raised_without_losing_the_memory_that_was_raised_before(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "TIMEOUT", profile=replace(PROFILE, memory="8192M", max_memory="16384M"))
    (found,) = healed(healing(sweep.look(BASE_A), None)).values()
    assert (found.mebibytes("memory"), found.minutes("time")) == (8192, 120)


def test_a_given_profile_does_not_take_back_what_was_raised_before(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "TIMEOUT", profile=replace(PROFILE, memory="8192M", max_memory="16384M"))
    profile = replace(PROFILE, name="given", partition="there")
    (found,) = healed(healing(sweep.look(BASE_A), profile)).values()
    assert (found.partition, found.mebibytes("memory"), found.minutes("time")) == ("there", 8192, 120)
    (found,) = healed(healing(sweep.look(BASE_A), replace(profile, max_memory="6G"))).values()
    assert (found.mebibytes("memory"), found.mebibytes("max_memory")) == (6144, 6144)


def test_copies_that_a_healed_base_blocked_come_along(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_B, None, state="stuck")
    sweep.submitted("5", alone(BASE_A), "OUT_OF_MEMORY")
    copies = replace(PROFILE, name="copies", pack=3)
    sweep.submitted("6", [(A2B,)], "CANCELLED", profile=copies)
    seen = sweep.look()
    assert [sight.state for sight in seen] == ["failed", "stuck", "blocked", "blocked", "blocked", "blocked"]
    found = healed(healing(seen, None))
    assert found.keys() == {"baseA", "A2B", "A3B"}  # what a stuck base blocks stays blocked
    assert found["baseA"].mebibytes("memory") == 8192
    assert found["A2B"] == copies
    assert found["A3B"] == copies  # never submitted: as the latest submission of these runs


def test_what_is_blocked_by_a_blocked_one_comes_along(sweep: Sweep) -> None:
    """No sweep has copies of copies yet; the law is that of any chain."""
    base, middle, last = status.entries([BASE_A, A2B, A3B])
    seen = [Sight(base, "failed", "x"), Sight(middle, "blocked"), Sight(replace(last, parent=middle.id), "blocked")]
    assert healed(healing(seen, PROFILE)).keys() == {"baseA", "A2B", "A3B"}


def test_copies_of_a_base_that_is_beyond_help_are_left_out_with_it(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "NODE_FAIL", profile=replace(PROFILE, max_memory="4G"))
    found = healing(sweep.look(), None)
    assert "baseA" in [sight.entry.name for sight, _ in found.hopeless]
    assert healed(found).keys() == {"baseB", "B2B", "B2B+"}


def test_a_base_whose_weights_were_damaged_is_trained_again_with_the_copies_that_found_out(sweep: Sweep) -> None:
    for base in (BASE_A, BASE_B):
        synthetic.finish(sweep.runs, base, 0.7)
        path = specs.folder(sweep.runs, base.id)
        save_file({"w": np.ones(3)}, path / "weights.safetensors")
        if base == BASE_B:
            whole = tensors.fingerprint_of_file(path / "weights.safetensors")
            synthetic.damage(path / "record.json", lambda record, whole=whole: record.update(weights=whole))
    for copy in (A2B, B2B):
        mine(sweep.runs, copy).fail("weights.safetensors does not hold the weights that the record of a base names")
    seen = with_spoilt_bases(sweep.runs, sweep.look())
    assert state_and_cause(seen[0]) == ("failed", "with damaged weights")
    assert seen[1].state == "done"
    assert healed(healing(seen, PROFILE)).keys() == {"baseA", "A2B", "B2B"}
    set_aside(sweep.runs, seen)
    path = specs.folder(sweep.runs, BASE_A.id)
    assert {file.name for file in path.glob("*damaged*")} == {"record.json.damaged-1", "weights.safetensors.damaged-1"}
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "done"]


def test_stale_copies_come_along_and_what_goes_on_does_not(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A2B, 0.6)
    synthetic.finish(sweep.runs, A3B, 0.6, parent_weights="others")
    sweep.submitted("5", alone(BASE_B), "RUNNING")
    sweep.submitted("6", alone(B2B, B2B_TUNED), "PENDING", "CANCELLED")
    assert healed(healing(sweep.look(), PROFILE)) == {"A3B": PROFILE}


def test_a_stale_copy_is_submitted_as_last_time(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, A3B), "COMPLETED", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A3B, 0.6, parent_weights="others")
    assert healed(healing(sweep.look(BASE_A, A3B), None)) == {"A3B": PROFILE}


def test_what_was_never_submitted_needs_a_profile(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A).fail("the cable was pulled")
    seen = sweep.look()
    with pytest.raises(BadInput, match=r"^these runs were never submitted to a cluster: give --profile, or train here"):
        healing(seen, None)
    assert healed(healing(seen, PROFILE)) == dict.fromkeys(("baseA", "A2B", "A3B"), PROFILE)


def test_where_nothing_failed_there_is_nothing_to_heal(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "RUNNING", "CANCELLED")
    found = healing(sweep.look(), None)
    assert (found.runs, found.profiles, found.hopeless) == ({}, {}, [])


def test_runs_with_the_same_profile_are_submitted_together(sweep: Sweep) -> None:
    others = [replace(BASE_A, seed=seed) for seed in (1, 2)]
    sweep.submitted("5", alone(BASE_A, BASE_B, *others), "NODE_FAIL", "OUT_OF_MEMORY", "NODE_FAIL", "OUT_OF_MEMORY")
    found = healing(sweep.look(BASE_A, BASE_B, *others), None)
    assert [[sight.entry.id for sight in sights] for sights in found.runs.values()] == [
        [BASE_A.id, others[0].id],
        [BASE_B.id, others[1].id],
    ]
