"""Trials: what a second's measurement chooses, and where it is used."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_encoders
import synthetic

from sweeps.running import speeds, trials
from sweeps.running.plan import plan
from sweeps.running.trials import Trial, kept, tried
from yosinski import files
from yosinski.cli.main import main
from yosinski.environment import cores, processor
from yosinski.experiment.cost import layers
from yosinski.networks import catalogue
from yosinski.networks.encoders import known

pytestmark = pytest.mark.usefixtures("card_of_emoji")

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
FLOPS = 32 * sum(row.flops for row in layers("alexnet32", 2))


def seconds(train: float) -> dict[str, float]:
    return {"forward": train / 3, "train": train}


def trial(bfloat16: float, half: float = 1.0, cores: int = cores()) -> Trial:
    every = {"float32": seconds(1.0), "bfloat16": seconds(bfloat16)}
    return Trial(
        "alexnet32", processor(), "2026-01-01", cores, 32, FLOPS, every, {dtype: seconds(half) for dtype in every}
    )


def test_bfloat16_is_chosen_unless_it_trains_slower() -> None:
    assert [trial(ratio).precision for ratio in (0.5, 1.05, 1.2)] == ["bfloat16", "bfloat16", "float32"]
    assert Trial(**{**asdict(trial(0.5)), "all": {"float32": seconds(1.0)}}).precision == "float32"


def test_half_of_the_cores_are_chosen_if_they_train_more_together() -> None:
    """Two threads of a core that take twice as long when both work are worth one."""
    assert trial(1.0, half=0.6, cores=8).workers == 8
    assert trial(1.0, half=0.4, cores=8).workers == 4
    assert trial(1.0, half=0.4, cores=1).workers == 1


def test_a_network_is_tried_once_for_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(trials, "measured", lambda run, runs: asked.append(run.network) or trial(0.5))
    assert tried(tmp_path, [BASE_A]) == tried(tmp_path, [BASE_A]) == kept(tmp_path) == {"alexnet32": trial(0.5)}
    assert asked == ["alexnet32"]
    elsewhere = {**asdict(trial(0.5)), "processor": "another"}
    files.write_json(tmp_path / "trials.json", {"trials": [elsewhere]})
    assert kept(tmp_path) == {}
    tried(tmp_path, [BASE_A])
    assert files.read_json(tmp_path / "trials.json")["trials"] == [elsewhere, asdict(trial(0.5))]


def test_plans_rest_on_trials_until_there_are_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "measured", lambda run, runs: trial(0.5))
    tried(tmp_path, [BASE_A])
    here = replace(speeds.expected("cpu"), precision="bfloat16")
    made = plan([BASE_A], tmp_path, 1, here)
    assert made.speeds.basis == "trials of this machine"
    per_flop = 0.5 / (3 * FLOPS)
    assert made.seconds(BASE_A) == pytest.approx(made.costs[BASE_A.id].flops * per_flop, rel=0.1)
    slow = plan([BASE_A], tmp_path, 1, replace(here, precision="float32"))
    assert slow.seconds(BASE_A) > 1.8 * made.seconds(BASE_A)
    assert "assumed" in plan([BASE_A], tmp_path, 1, replace(here, processor="another")).speeds.basis
    of_here: dict[str, Any] = {
        "arithmetic": {"dtype": "bfloat16", "device": "cpu"},
        "environment": {"processor": processor()},
    }
    synthetic.finish(tmp_path, BASE_A, 0.7, seconds=10.0, pack=1, pack_flops=1e12, seconds_by="time", **of_here)
    assert plan([BASE_A, BASE_B], tmp_path, 1, here).speeds.basis == f"1 finished runs in {tmp_path}"


def test_a_plan_says_how_to_measure_and_does_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials, "measured", lambda run, runs: trial(0.5))
    command = ["plan", "figure2", "-p", "recipe.epochs=1", "-p", "cuts=7", "--runs", str(tmp_path), "--device", "cpu"]
    assert main(command) == 0
    assert "nothing has been measured yet\n--measure times passes" in capsys.readouterr().out
    assert not (tmp_path / "trials.json").exists()
    assert main([*command, "--measure"]) == 0
    assert capsys.readouterr().out.endswith("the estimate rests on trials of this machine\n")


def test_trials_of_networks_of_files_are_found_by_their_runs(tmp_path: Path) -> None:
    """Their specs have the digest, and not the name."""
    one = replace(trial(1.0), network="net.py:build@32#1a2b3c4d")
    files.write_json(tmp_path / "trials.json", {"trials": [asdict(trial(0.5)), asdict(one)]})
    run: Any = SimpleNamespace(id="ab12", network=one.network, spec={"network": "file:1a2b3c4d5e6f7a8b"})
    here = replace(speeds.expected("cpu"), precision="bfloat16")
    found = speeds.measured(tmp_path, [run], here)
    assert found.seconds(run, 3 * FLOPS, 3 * FLOPS, 1) == pytest.approx(1.0, rel=0.1)


def test_further_runs_are_computed_like_finished_ones_of_this_processor(tmp_path: Path) -> None:
    for base, name in ((BASE_A, processor()), (BASE_B, "another")):
        arithmetic, environment = {"dtype": "bfloat16", "device": "cpu"}, {"processor": name}
        synthetic.finish(tmp_path, base, 0.7, seconds=1.0, arithmetic=arithmetic, environment=environment)
    assert speeds.precisions(tmp_path, [BASE_A], ["alexnet32"]) == {"alexnet32": "bfloat16"}
    assert speeds.precisions(tmp_path, [BASE_B], ["alexnet32"]) == {}
    assert speeds.precisions(tmp_path, [BASE_A], ["resnet18"]) == {}


def test_a_trial_measures_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process instead of others: a training step takes longer than a forward pass."""

    class Here:
        def __init__(self, processes: int, context: object) -> None:
            self.processes = processes

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, work, *given):
            return type("Done", (), {"result": staticmethod(lambda: work(*given))})

    monkeypatch.setattr(trials, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(trials, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr("yosinski.training.timing.LASTING", 0.0)
    made = trials.measured(BASE_A, tmp_path)
    assert list(made.all) == list(made.half) == ["float32"]
    assert 0 < made.all["float32"]["forward"] < made.all["float32"]["train"]
    assert made.images == BASE_A.recipe.batch_size


def test_the_processes_of_a_trial_know_networks_that_no_package_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yosinski.training.timing.LASTING", 0.0)
    directory = small_encoders.averaged(small_encoders.saved(tmp_path / "it"))  # takes fewer tokens than a trial has
    network = catalogue.name_of(f"hf:{directory}")
    catalogue.keep(tmp_path / "runs", network)
    monkeypatch.setattr(known, "_known", {})  # as in another process
    took = trials.passed(tmp_path / "runs", network, 4, 2, ["float32"])
    assert 0 < took["float32"]["forward"] < took["float32"]["train"]
