"""`yosinski decide`: its rounds, their end, and what is said. Trainings are made up, but for a slow one."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
from pages import first_column
from trainer import Trainer

from sweeps.running.plan import plan
from yosinski import files
from yosinski.cli import local
from yosinski.cli.main import main
from yosinski.records import claims, specs, states

Said = Callable[..., tuple[int, str, str]]
SMALL = ("figure2", "-p", "cuts=2,4", "-p", "treatments=tuned")  # decided in two rounds


def decision(folder: Path) -> Path:
    (path,) = (folder / "runs" / "decisions").glob("*.json")
    return path


def written(folder: Path) -> list[dict[str, Any]]:
    return files.read_json(decision(folder))["rounds"]


def cells(folder: Path) -> list[tuple[int, str, int]]:
    return [(place, treatment, n) for made in written(folder) for place, (treatment, n) in made["cells"]]


# ------------------------------------------------------------------------------------------------------ from end to end


def test_a_clear_winner_is_found_on_three_splits(decide: Said, trainer: Trainer, tmp_path: Path) -> None:
    status, out, _ = decide("figure2")
    assert status == 0
    assert re.search(r"Cut at n = 4 \(conv4\): A4B\+ is highest", out)
    number = len(trainer.trained)
    assert f"decided with {number} networks in {len(written(tmp_path))} rounds (every cut on 3 splits: 48)" in out
    assert number <= 24
    assert {place for place, *_ in cells(tmp_path)} == {0, 1, 2}
    content = files.read_json(decision(tmp_path))
    keys = {f"rounds.{name}" for made in content["rounds"] for name in made} | (content.keys() - {"format", "rounds"})
    assert keys == set(first_column("decisions/decide-&lt;name&gt;-&lt;digest&gt;.json"))
    last = written(tmp_path)[-1]["known"]
    assert last["top"] == "A4B+"
    assert {row["choice"] for row in last["choices"]} >= {"A4B+", "base", "A7B"}


def test_what_is_printed_of_a_round_is_its_cells_the_plan_and_two_sentences(decide: Said) -> None:
    _, out, _ = decide(*SMALL)
    assert out.splitlines()[:5] == [
        "round 1, a first look: base, fine-tuned n = 2, 4 on split random:0",
        "plan of 4 runs",
        "  No recommendation for other halves: 1 split, and at least 3 are needed.",
        "  On these alone, A4B+ (cut at n = 4, conv4; fine-tune everything) is highest (+10.23 points from the base).",
        "round 2, replicates of what may be the best: base, fine-tuned n = 4 on splits random:1, random:2",
    ]


def test_the_same_command_again_trains_nothing_and_says_the_same(
    decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    _, first, _ = decide("figure2")
    trainer.trained.clear()
    before = decision(tmp_path).read_bytes()
    status, again, _ = decide("figure2")
    assert (status, trainer.trained) == (0, [])
    assert again.splitlines()[0] == [line for line in first.splitlines() if line.startswith("round ")][-1]
    assert again.splitlines()[-4:] == first.splitlines()[-4:]
    assert decision(tmp_path).read_bytes() == before


@pytest.mark.parametrize("after", [3, 11])
def test_after_an_interruption_it_goes_on_where_it_was(
    after: int, decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    trainer.stop_after = after
    status, _, err = decide("figure2")
    assert (status, err) == (130, "yosinski: stopped; the same command goes on\n")
    assert len(trainer.trained) == after
    trainer.stop_after = None
    status, out, _ = decide("figure2")
    assert status == 0
    assert f"decided with {len(trainer.trained)} networks" in out
    assert len({run.id for run in trainer.trained}) == len(trainer.trained)
    assert {claims.latest_attempt(path) for path in specs.scan(tmp_path / "runs")} == {1}


def test_what_another_sweep_has_trained_is_not_trained_again(decide: Said, trainer: Trainer, tmp_path: Path) -> None:
    whole = {"sweep": "figure2", "parameters": ["splits=random:0,random:1,random:2"], "runs": tmp_path / "runs"}
    trainer(argparse.Namespace(**whole, debug=False))
    trainer.trained.clear()
    assert decide("figure2")[0] == 0
    assert trainer.trained == []


def test_curves_without_a_difference_end_it_as_well(decide: Said, trainer: Trainer) -> None:
    trainer.points = lambda run: 0.0
    status, out, _ = decide("figure2", "-p", "treatments=frozen", "-p", "cuts=3,5")
    assert status == 0
    assert "decided with" in out


def test_what_is_decided_is_a_sweep_for_other_commands(
    decide: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = decide("figure2", "-p", "cuts=2,4")
    report = re.search("the whole report: yosinski (.*)", out)
    assert report is not None
    assert main(report[1].split()) == 0
    assert "A4B+ is highest" in capsys.readouterr().out
    sweep = str(decision(tmp_path).with_suffix(".py"))
    assert main(["plan", sweep, "--runs", str(tmp_path / "runs")]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert main(["status", sweep, "--runs", str(tmp_path / "runs")]) == 0
    assert re.search(r"(\d+) runs: \1 done", capsys.readouterr().out)


def test_other_questions_have_files_of_their_own(decide: Said, tmp_path: Path) -> None:
    for budget, more, number in (
        ("8", (), 1),
        ("9", (), 1),
        ("8", ("--matters", "2"), 2),
        ("8", ("-p", "cuts=2,4"), 3),
    ):
        assert decide("figure2", "--budget", budget, *more)[0] == 0
        assert len(list((tmp_path / "runs" / "decisions").glob("*.json"))) == number


@pytest.mark.parametrize(
    ("texts", "places"),
    [("seeds=0,1,2,3", "seeds 1, 2"), ("splits=natman", "seeds 1, 2"), ("divisions=0..3", "divisions 1, 2")],
)
def test_places_are_what_the_sweep_is_given(texts: str, places: str, decide: Said) -> None:
    status, out, _ = decide(*SMALL, "-p", texts)
    assert status == 0
    assert f"base, fine-tuned n = 4 on {places}" in out
    assert "decided with" in out


def test_a_sweep_of_the_users_own(
    decide: Said, tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from sweeps.figure2 import figure2\n\n\n"
        "def mine(cuts: tuple[int, ...] = (2, 4), treatments=('tuned',), seeds: tuple[int, ...] = (0,)):\n"
        "    return figure2(cuts=cuts, treatments=treatments, seeds=seeds)\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = decide("mine.py")
    assert (status, "Cut at n = 4" in out) == (0, True)
    assert {run.seed for run in trainer.trained} == {0, 1, 2}
    trainer.trained.clear()
    assert decide("mine.py")[0] == 0
    assert trainer.trained == []


# ------------------------------------------------------------------------------------------------------- what may fail


def test_stuck_cells_are_not_tried_again_and_do_not_lead(decide: Said, trainer: Trainer, tmp_path: Path) -> None:
    trainer.points = lambda run: 10.0 * (run.treatment == "tuned") + run.cut
    trainer.fails = lambda run: (run.treatment, run.cut) in (("tuned", 7), ("frozen", 7))
    status, out, _ = decide("figure2")
    assert status == 0
    assert "decided with" in out
    assert "Got stuck or diverged: A7B 1 of 1, A7B+ 1 of 1." in out
    assert [cell for cell in cells(tmp_path) if cell[2] == 7] == [(0, "frozen", 7), (0, "tuned", 7)]
    assert written(tmp_path)[-1]["known"]["top"] in ("A5B+", "A6B+")


@pytest.mark.parametrize("fails", ["every copy", "every network", "all but one"])
def test_where_nothing_can_be_compared_it_ends(fails: str, decide: Said, trainer: Trainer) -> None:
    trainer.fails = {
        "every copy": lambda run: run.parent is not None,
        "every network": lambda run: True,
        "all but one": lambda run: run.half.letter == "B" and (run.treatment, run.cut) != ("tuned", 4),
    }[fails]
    status, out, err = decide("figure2")
    assert (status, err) == (0, "")
    assert "not decided: fewer than two choices were trained to the end" in out


def test_places_run_out(decide: Said, trainer: Trainer) -> None:
    trainer.points, trainer.error = lambda run: 0.0, 8.0
    status, out, _ = decide("figure2", "-p", "cuts=2,4", "-p", "seeds=0..3")
    assert status == 0
    assert "not decided on all 4 seeds: name more of them" in out
    assert {run.seed for run in trainer.trained} == {0, 1, 2, 3}


def test_a_run_that_has_not_ended_is_waited_for(
    decide: Said, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "run_sweep", lambda options: 0)  # as where another process has all of it
    status, out, _ = decide("figure2")
    assert status == 0
    assert out.splitlines()[-1] == "8 runs of this round have not ended; the same command goes on"


# -------------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "trained"),
    [("7", 0), ("9networks", 8), ("1e12 FLOPs", 0), ("0.001h", 0)],
)
def test_it_ends_before_the_budget_is_exceeded(
    budget: str, trained: int, decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    status, out, _ = decide("figure2", "--budget", budget)
    assert (status, len(trainer.trained)) == (0, trained)
    assert ("not decided within the budget" if trained else "nothing is trained: the next round would make it") in out
    assert ("On these alone, A4B+" in out) == bool(trained)
    if trained:
        assert len(written(tmp_path)) == 1
        status, out, _ = decide("figure2")
        assert (status, "decided with" in out) == (0, True)


@pytest.mark.parametrize("unit", ["", "flops", "h"])
def test_a_budget_that_is_enough_changes_nothing(unit: str, decide: Said) -> None:
    assert "decided with" in decide(*SMALL, "--budget", f"1e30{unit}")[1]


def test_flops_are_those_of_all_networks_of_the_decision(decide: Said, trainer: Trainer, tmp_path: Path) -> None:
    decide("figure2", "--budget", "8")
    runs = plan(trainer.trained, tmp_path / "runs", 1)
    flops = sum(runs.costs[run.id].flops for run in trainer.trained)
    trainer.trained.clear()
    for budget, number in ((flops - 1, 0), (flops, 8)):
        words = ["--runs", str(tmp_path / f"runs{number}"), "--budget", f"{budget}flops"]
        assert main(["decide", "figure2", *words]) == 0
        assert len(trainer.trained) == number


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reduced"], "has no parameter cuts and no treatments"),
        (["nothing"], "unknown sweep 'nothing'"),
        (["figure2", "--matters", "0"], "--matters must be a number of points above 0, not 0"),
        (["figure2", "--matters", "nan"], "not nan"),
        (["figure2", "--matters", "inf"], "not inf"),
        *(
            (["figure2", "--budget", text], f"--budget '{text}': give a number")
            for text in ("0", "many", "3 days", "..")
        ),
        (["figure2", "-p", "seeds=0,1"], "2 seeds decide nothing"),
        (["figure2", "-p", "colour=red"], "colour"),
        (["figure2", "--profile", "none"], "none"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    words: list[str], message: str, decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    status, out, err = decide(*words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert trainer.trained == []
    assert not (tmp_path / "runs" / "decisions").exists()


@pytest.mark.parametrize("change", ["half", "no rounds", "no cells"])
def test_a_damaged_decision_is_set_aside_and_decided_again_without_training(
    change: str, decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    decide(*SMALL)
    path, before = decision(tmp_path), written(tmp_path)
    damages = {
        "half": None,
        "no rounds": lambda value: value.pop("rounds"),
        "no cells": lambda value: value["rounds"][0].pop("cells"),
    }
    synthetic.damage(path, damages[change])
    status, _, err = decide(*SMALL)
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"{path} is damaged; it was set aside as {path.name}.damaged-1" in err
    trainer.trained.clear()
    assert decide(*SMALL)[0] == 0
    assert trainer.trained == []
    assert written(tmp_path) == before


def test_a_decision_on_other_choices_is_refused(decide: Said, trainer: Trainer, tmp_path: Path) -> None:
    decide("figure2", "-p", "cuts=2,4")
    synthetic.damage(decision(tmp_path), lambda value: value["rounds"][0]["cells"].append([0, ["tuned", 5]]))
    before = decision(tmp_path).read_bytes()
    status, _, err = decide("figure2", "-p", "cuts=2,4")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "has ('tuned', 5) at place 0, which is not of this sweep" in err
    assert decision(tmp_path).read_bytes() == before


# ------------------------------------------------------------------------------------------------------- real trainings


@pytest.mark.slow
def test_networks_are_trained_round_by_round(
    small_split_file: Path, stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"splits={small_split_file}", "cuts=2", "treatments=frozen", "recipe=sketch", "recipe.epochs=1"]
    words = ["decide", "figure2", *(word for text in [*texts, "recipe.batch_size=64"] for word in ("-p", text))]
    words += ["--runs", str(tmp_path / "runs"), "--stores", str(stores), "--device", "cpu", "--matters", "200"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "decided with 9 networks in 2 rounds (every cut on 3 seeds: 9)" in out
    assert [states.state(path) for path in specs.scan(tmp_path / "runs")] == ["done"] * 9
