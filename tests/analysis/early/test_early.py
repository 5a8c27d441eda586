"""The early answer: the published numbers, laws on small exact cases, and a sweep that is stopped and goes on."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from commands import yosinski
from pages import first_column
from this_process import packs_in_this_process

from analysis import frame
from analysis.advice.report import advise
from analysis.early.backtest import backtest, calibration, correlation, standing, stopping
from analysis.early.figure import draw
from analysis.early.model import IN_A_ROW, LOOKS, TAILS, Contest, contests, needed, sure, variances, verdict
from analysis.early.table import PAIRS, STOPS, early, shown_pairs, stops
from analysis.frame import expected
from analysis.paper import networks
from yosinski import files
from yosinski.cli import early_stop
from yosinski.cli.early_stop import Watch
from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.experiment.recipes import EMOJI, SKETCH
from yosinski.experiment.run import Run
from yosinski.records import attempts, claims, specs, states

CHOICES = ["2 frozen", "2 tuned", "5 frozen", "5 tuned"]
RECIPE = EMOJI.with_values({"epochs": 4.0, "evaluations": 4})


def contest(split: str, curves: list[list[float]], finished: bool = True, steps: int = 100) -> Contest:
    """A contest with a row of scores per evaluation, and a column per choice."""
    shares = np.arange(1, len(curves) + 1) / 4
    choices = CHOICES[: len(curves[0])]
    about = {"origin": "runs", "split": split, "division": 0, "source": "A", "target": "B", "seed": 0}
    runs = {choice: f"{split} {choice}" for choice in choices}
    table = pd.DataFrame(curves, pd.Index(shares), choices)
    return Contest(about, ("same",), runs, table, steps, "select_top1", finished)


def drifting(split: str, start: list[float], drift: list[float]) -> Contest:
    """A finished contest whose choices all drift after the first of four evaluations."""
    end = [a + b for a, b in zip(start, drift, strict=True)]
    return contest(split, [start, end, end, end])


def test_contests_of_several_divisions_are_told_apart() -> None:
    whole = contest("random:0", [[0.5, 0.6]], finished=False)
    about = {**whole.about, "division": 2, "seed": 1}
    divided = Contest(about, whole.kind, whole.runs, whole.curves, whole.steps, whole.metric, whole.finished)
    assert [str(its) for its in (whole, divided)] == ["A to B, random:0", "A to B, random:0, division 2, seed 1"]
    rows = standing([whole, divided]).assign(origin="runs").reindex(columns=PAIRS)
    assert rows["division"].tolist() == [0, 2]
    assert shown_pairs(rows)["division"].tolist() == ["0", "2"]
    assert "division" not in shown_pairs(rows.iloc[:1])


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return networks()


# --------------------------------------------------------------------------------------------------- published networks


SPEARMAN = {"150000": 0.970, "0.33": 0.967}


@pytest.mark.parametrize("at", SPEARMAN)
def test_the_published_warning(published: pd.DataFrame, at: str) -> None:
    made: Any = early(published, at)
    (row,) = made.rows.to_dict("records")
    assert (row["networks"], round(row["spearman"], 3)) == (54, SPEARMAN[at])
    assert (row["settled"], row["contests"]) == (6, 8)
    assert made.pairs is not None
    assert (made.pairs["best"] == made.pairs["final"]).sum() == 6
    assert row["regret"] == pytest.approx(row["lost"], abs=0.0005)  # predicted without the split, and observed
    assert f"rank correlation of {SPEARMAN[at]:.3f}" in made.notes[0]
    assert "6 of 8 contests" in made.notes[0]


def test_regret_is_calibrated_on_the_published_networks_all_along(published: pd.DataFrame) -> None:
    rows: Any = early(published).rows
    assert len(rows) == LOOKS
    assert rows["share"].iloc[-1] == 1
    assert rows[["change", "regret", "lost"]].iloc[-1].tolist() == [0, 0, 0]
    assert (rows["regret"] - rows["lost"]).abs().max() < 0.1 * rows["lost"].max()
    assert (rows["change"] - rows["changed"]).abs().mean() < 0.06


def test_the_rule_loses_less_than_its_limit_on_the_published_networks(published: pd.DataFrame) -> None:
    tested = backtest(contests(published))
    where: dict[float, Any] = {epsilon: stopping(tested, epsilon) for epsilon in (0.01, 0.005, 0.002, 0.001)}
    for epsilon, rows in where.items():
        assert len(rows) == 8
        assert rows["lost"].mean() < epsilon
    shares = [rows["share"].mean() for rows in where.values()]
    assert shares == sorted(shares)
    assert shares[-1] < 0.5


def test_fine_tuned_networks_are_compared_if_asked_for(published: pd.DataFrame) -> None:
    tuned = contests(published.loc[published["treatment"] == "tuned"])
    assert {choice.split()[1] for one in tuned for choice in one.runs} == {"tuned"}
    assert {choice.split()[1] for one in contests(published) for choice in one.runs} == {"frozen"}


def test_scores_so_far_are_those_of_the_frame(published: pd.DataFrame) -> None:
    finals = published.loc[published["last"]].set_index("run")["best10_top1"]
    for one in contests(published):
        assert one.scores(1.0).to_numpy() == pytest.approx(finals[list(one.runs.values())].to_numpy())


# ------------------------------------------------------------------------------------------------------------- laws


def test_at_the_end_nothing_is_open() -> None:
    end = verdict(drifting("a", [0.1, 0.2, 0.3, 0.2], [0.1, 0.2, 0.1, 0.4]), [], 1.0)
    assert (end.best, end.change, end.regret) == ("5 tuned", 0, 0)


def test_without_noise_the_future_is_known() -> None:
    """Whatever level a contest has: drifts that differ by a constant only leave nothing unexplained."""
    drift = [0.0, 0.1, 0.2, 0.3]
    known = [drifting(s, [0.1 * k] * 4, [d + 0.05 * k for d in drift]) for k, s in enumerate("bc")]
    ahead = verdict(contest("a", [[0.1, 0.1, 0.1, 0.2]], finished=False), known)
    assert (ahead.best, ahead.change, ahead.learned) == ("5 tuned", 0, 2)
    assert ahead.regret == 0
    overtaken = verdict(contest("a", [[0.4, 0.1, 0.1, 0.2]], finished=False), known)
    assert (overtaken.best, overtaken.change) == ("2 frozen", 1)
    assert overtaken.regret == pytest.approx(0.2 + 0.3 - 0.4)


def test_two_identical_curves_are_a_coin_and_cost_half_their_difference() -> None:
    """Against E max(0, d) of the predictive distribution, with third and fourth choices far behind."""
    noise = np.array([[1, -1, 0, 0], [-1, 1, 1, -1], [0, 0, -1, 1]]) * 0.01
    known = [drifting(s, [0.4, 0.4, 0.1, 0.1], list(0.1 + noise[k])) for k, s in enumerate("bcd")]
    one = verdict(contest("a", [[0.4, 0.4, 0.1, 0.1]], finished=False), known)
    freedom, m = 6, 3
    scale = math.sqrt((noise**2).sum() / freedom * (1 + 1 / m))  # of all choices: their variances are equal
    random = np.random.default_rng(7)
    unknown = np.sqrt(freedom / random.chisquare(freedom, 10**6))
    first, second = random.standard_t(TAILS, (2, 10**6))
    assert one.change == pytest.approx(0.5, abs=0.03)
    assert one.regret == pytest.approx(scale * (unknown * (first - second)).clip(0).mean(), rel=0.05)


def test_variances_are_those_of_choices_moved_towards_each_other() -> None:
    random = np.random.default_rng(0)
    true = np.array([0.01, 0.01, 0.01, 0.01, 0.04, 0.04])
    many, freedom = variances(random.normal(0.2, true, (400, 6)) + random.normal(0, 0.1, (400, 1)))
    assert many == pytest.approx((4 * true**2 + (true**2).mean()) / 5, rel=0.2)  # others are in a contest's mean
    assert 399 * 5 / 6 <= freedom <= 399 * 5
    few, _ = variances(random.normal(0.2, true, (4, 6)))
    left = few[4:].mean() / few[:4].mean()
    assert 1 < left < 16
    equal, freedom = variances(np.array([[1.0, 2], [2, 1], [3, 3]]))
    assert (equal[0], freedom) == (equal[1], 2)  # of two choices only the difference is known
    assert equal.sum() == pytest.approx(np.var([-1, 1, 0], ddof=1))


def test_its_own_split_is_not_learned_from_unless_there_is_no_other() -> None:
    open_one = contest("a", [[0.4, 0.3, 0.2, 0.1]], finished=False)
    others = [drifting("b", [0.1] * 4, [0.1, 0.2, 0.1, 0.2]), drifting("c", [0.1] * 4, [0.1, 0.1, 0.2, 0.2])]
    wild = [drifting("a", [0.1] * 4, [0.0, 0.8, 0.1, 0.5]), drifting("a", [0.1] * 4, [0.8, 0.0, 0.5, 0.0])]
    assert verdict(open_one, [*others, *wild]) == verdict(open_one, others)
    alone = verdict(open_one, wild)
    assert (alone.learned, alone.same_split) == (2, True)
    assert alone.regret is not None
    assert backtest([*wild, *wild])["regret"].loc[lambda r: r > 0].empty  # no calibration from the same split


def test_what_cannot_be_concluded_is_not() -> None:
    open_one = contest("a", [[0.4, 0.3, 0.2, 0.1]], finished=False)
    one = [drifting("b", [0.1] * 4, [0.1] * 4)]
    answer = verdict(open_one, one)
    assert (answer.best, answer.change, answer.regret) == ("2 frozen", None, None)
    assert answer.why == "1 finished contests have these choices and the same recipe; 2 are needed"
    assert [needed(choices) for choices in (2, 3, 4, 14)] == [4, 3, 2, 2]
    begun = contest("a", [[0.4, 0.3, 0.2, math.nan]], finished=False)
    assert verdict(begun, one * 2).why == "4 of 4 choices have no score yet"
    unlike = Contest(one[0].about, ("other recipe",), one[0].runs, one[0].curves, 100, "select_top1", True)
    assert verdict(open_one, [unlike] * 3).regret is None


def test_regret_is_what_is_lost_or_cautiously_more_where_the_model_is_true() -> None:
    random = np.random.default_rng(1)
    drift = random.normal(0.2, 0.02, 4)
    found = []
    for k in range(60):
        start = random.normal(0.4, 0.02, 4)
        found.append(drifting(f"s{k}", list(start), list(drift + random.normal(0, 0.02, 4) + random.normal(0, 0.05))))
    tested: Any = backtest(found, [0.25])
    error = (tested["regret"] - tested["lost"]).std() / math.sqrt(60)
    assert tested["lost"].mean() - 3 * error < tested["regret"].mean() < 2 * tested["lost"].mean() + 3 * error
    assert tested["change"].mean() > tested["changed"].mean() - 3 * 0.5 / math.sqrt(60)
    assert tested["changed"].mean() > 0.1


def test_sure_wants_several_looks_in_a_row() -> None:
    known = [contest(s, [[0.1] * 4, [0.2] * 4, [0.3] * 4, [0.3 + 0.001 * k] * 4]) for k, s in enumerate("bc")]
    curve = [[0.4, 0.1, 0.1, 0.1]] * 3
    looked = [sure(contest("a", curve[:k], finished=False), known, 0.01) for k in (1, 2, 3)]
    assert looked[0] is None
    assert [answer[1] for answer in looked[1:] if answer] == [2, 3]
    assert IN_A_ROW == 2
    assert sure(contest("a", curve, finished=False), known[:1], 0.01) is None
    tested = backtest([*known, contest("a", [*curve, curve[0]])])
    assert stopping(tested, 0.01)["share"].tolist() == [0.5] * 3


def test_what_was_stated_stands_beside_what_was_lost() -> None:
    """Two looks in a row below the limit, a late fall that no other contest had, and no regret at the end."""
    known = [contest(s, [[0.1] * 4, [0.2] * 4, [0.3] * 4, [0.3 + 0.001 * k] * 4]) for k, s in enumerate("bc")]
    tested = backtest([*known, contest("a", [*[[0.4, 0.1, 0.1, 0.1]] * 3, [0.2, 0.3, 0.3, 0.3]])])
    number, stated, lost = calibration(tested.loc[tested["split"] == "a"], 0.01)
    assert (number, lost) == (1, pytest.approx(0.1))
    assert 0 <= stated < 0.01
    number, stated, _ = calibration(tested, 0.0)
    assert (number, math.isnan(stated)) == (0, True)


def test_nothing_is_stopped_at_the_end_or_by_what_its_own_split_says() -> None:
    curve = [[0.4, 0.1, 0.1, 0.1]] * 4
    known = [contest(s, [[0.1] * 4, [0.2] * 4, [0.3] * 4, [0.3 + 0.001 * k] * 4]) for k, s in enumerate("bc")]
    open_one = contest("a", curve[:3], finished=False)
    assert sure(open_one, known, 0.01) is not None
    same = [contest("a", one.curves.to_numpy().tolist()) for one in known]
    assert verdict(open_one, same).regret is not None
    assert sure(open_one, same, 0.01) is None
    assert sure(contest("a", curve, finished=False), known, 0.01) is None  # all have their last score already


# ---------------------------------------------------------------------------------------------------------- directories


def copies(split: str) -> list[Run]:
    """Two bases' copies on each other's halves, four choices each."""
    a, b = (synthetic.base(half, recipe=RECIPE) for half in synthetic.halves(split))
    pairs = ((a, b.half), (b, a.half))
    return [synthetic.copy(base, half, n, plus) for base, half in pairs for n in (2, 5) for plus in (False, True)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two splits that are finished, and one whose copies have two of four evaluations; one of them is stuck."""
    for split in ("random:0", "random:1"):
        for k, run in enumerate(copies(split)):
            top1 = 0.5 + 0.02 * k
            synthetic.finish(tmp_path, run, top1, (0.1, 0.1 + 0.01 * k, 0.4, top1))
    for k, run in enumerate(copies("random:2")):
        attempt = attempts.claim(tmp_path, run)
        assert attempt is not None
        for step in (10, 20):
            attempt.append(synthetic.row(step, 0.1 + 0.01 * k * (step > 10)))
        attempt.release()
    return tmp_path


def test_selffers_and_random_features_are_no_contest(runs: Path) -> None:
    (a, b), others = (synthetic.base(half, recipe=RECIPE) for half in synthetic.halves("random:0")), copies("random:0")
    planned = [synthetic.copy(a, a.half, n, plus) for n in (2, 5) for plus in (False, True)]
    found = contests(expected([*others, *planned, synthetic.copy(b, b.half, 2)]))
    assert {run for its in found for run in its.runs.values()} == {run.id for run in others}


def test_records_are_read_as_far_as_they_go(runs: Path) -> None:
    table = frame(runs)
    found = contests(table)
    assert [one.finished for one in found] == [True] * 4 + [False] * 2
    assert {one.steps for one in found} == {40}
    assert [one.reached for one in found] == [1] * 4 + [0.5] * 2
    assert found[0].looks == [0.25, 0.5, 0.75, 1.0]
    pairs, r = correlation(found, 1.0)
    assert (pairs, r) == (16, pytest.approx(1.0))
    made = early(table, "0.5")
    assert made.pairs is not None
    assert made.pairs["final"].notna().tolist() == [True] * 4 + [False] * 2
    assert made.pairs["best"].tolist() == ["5 tuned"] * 6
    assert set(json.loads(made.as_json())["rows"][0]) == set(made.rows)
    figure, numbers = draw(table)
    assert len(figure.axes) == 3
    assert len(numbers.loc[numbers["final"].isna()]) == 2


def test_before_the_first_evaluation_nothing_is_known(runs: Path) -> None:
    assert (
        "no finished contest has two choices with a score by then; ask for a later time"
        in early(frame(runs), "7").notes
    )


def test_nothing_finished_says_what_cannot_be_concluded(runs: Path) -> None:
    table = frame(runs, where={"split": "random:2"})
    made: Any = early(table)
    assert made.rows.empty
    assert made.pairs is not None
    assert made.pairs["regret"].isna().all()
    assert "no contest is finished" in made.notes[0]
    with pytest.raises(BadInput, match="there is nothing to draw yet"):
        draw(table)


def test_a_stuck_copy_is_no_choice_and_a_missing_one_is_waited_for(runs: Path) -> None:
    table = frame(runs)
    run = copies("random:2")[0].id
    table.loc[table["run"] == run, "state"] = "stuck"
    assert len(contests(table)[-2].runs) + len(contests(table)[-1].runs) == 7
    table.loc[table["run"] == run, ["state", "select_top1"]] = ["missing", math.nan]
    assert {one.reached for one in contests(table)[-2:]} == {0.0, 0.5}


def test_planned_runs_are_the_contests_that_their_records_will_be(runs: Path) -> None:
    planned = contests(expected(run for k in range(3) for run in copies(f"random:{k}")))
    found = contests(frame(runs))
    of = {frozenset(one.runs.items()): (one.kind, one.about) for one in found}
    assert of == {frozenset(one.runs.items()): (one.kind, one.about) for one in planned}
    assert not any(one.finished or one.reached for one in planned)


def watch(runs: Path, wanted: list[Run], epsilon: float) -> tuple[Watch, list[str]]:
    synthetic.manifest(runs, "mine", wanted)
    lines: list[str] = []
    return Watch(runs, wanted, epsilon, runs / "sweeps" / f"mine-{len(wanted)}.json", lines.append), lines


def test_what_is_decided_is_written_down_and_looked_at_again_for_new_evaluations_only(runs: Path) -> None:
    wanted = copies("random:2")
    look, lines = watch(runs, wanted, 0.5)
    assert look() == {run.id for run in wanted}
    assert len(lines) == 2
    written = files.read_json(look.path)
    assert [len(stop["runs"]) for stop in written["stops"]] == [4, 4]
    assert [(stop["share"], stop["looks"]) for stop in written["stops"]] == [(0.5, 2)] * 2
    again, _ = watch(runs, wanted, 0.5)
    assert again() == look()
    assert files.read_json(look.path) == written
    highest = max(written["stops"], key=lambda stop: stop["regret"])
    smaller, _ = watch(runs, wanted, highest["regret"])
    assert smaller().isdisjoint(highest["runs"])


def test_another_sweep_s_cut_of_the_same_base_is_not_waited_for(runs: Path) -> None:
    wanted = copies("random:2")
    base, half = wanted[0].parent, wanted[0].half
    assert base is not None
    synthetic.manifest(runs, "other", [synthetic.copy(base, half, 7)])
    assert len(watch(runs, wanted, 0.5)[0]()) == 8


def test_a_sweep_of_which_nothing_can_be_chosen_any_more_is_no_error(runs: Path, tmp_path: Path) -> None:
    wanted = copies("random:3")
    for run in wanted:
        synthetic.finish(tmp_path, run, 0.33, (0.33,), state="stuck")
    assert watch(runs, wanted, 0.5)[0]() == set()


def test_a_damaged_note_is_set_aside(runs: Path) -> None:
    wanted = copies("random:2")
    look, _ = watch(runs, wanted, 0.5)
    look()
    synthetic.damage(look.path)
    with pytest.warns(UserWarning, match="is damaged: what it says was stopped is not shown"):
        assert stops(runs).empty
    assert len(watch(runs, wanted, 0.5)[0]()) == 8
    assert len(list(look.path.parent.glob("*.damaged-1"))) == 1
    assert len(stops(runs)) == 2


def test_the_advice_tells_what_is_not_finished(runs: Path) -> None:
    made = advise(frame(runs), directory=runs)
    (section,) = [one for one in made.parts[-1].sections if one.title == "What is not finished"]
    assert section.tables[0].rows["best"].tolist() == ["5 tuned"] * 2
    wanted = copies("random:2")
    watch(runs, wanted, 0.5)[0]()
    made = advise(frame(runs), directory=runs)
    assert any("was stopped at 0.50 of its training" in text for text in made.parts[-1].sections[-1].text)
    finished = frame(runs, where={"split": "random:0"})
    assert "What is not finished" not in advise(finished).as_json()


def test_bad_input(runs: Path, published: pd.DataFrame) -> None:
    for at in ("0", "-1", "nan", "half", "450001"):
        with pytest.raises(BadInput, match="--at takes a share of the training, up to 1, or a step, up to 450,000"):
            early(published, at)
    with pytest.raises(BadInput, match="unknown metric of an early answer 'test_top1'"):
        early(published, metric="test_top1")
    with pytest.raises(BadInput, match="there are no transfer copies"):
        contests(published.loc[published["relation"] != "transfer"])  # selffers are controls, not choices
    with pytest.raises(
        BadInput, match="no base was cut in two ways for one target and seed, so that nothing can be compared among"
    ):
        contests(frame(runs, where={"n": "2", "treatment": "frozen"}))
    with pytest.raises(BadInput, match="drawn of one kind of runs"):
        draw(pd.concat([published, frame(runs)], ignore_index=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure2", "--stop-when-sure", "0"], "takes a regret in accuracy, between 0 and 1, not 0"),
        (["figure2", "--stop-when-sure", "nan"], "takes a regret in accuracy, between 0 and 1, not nan"),
        (["reduced", "--stop-when-sure", "0.01"], "no base was cut in two ways"),
        (["figure2", "-pcuts=3", "-ptreatments=frozen", "--stop-when-sure", "0.01"], "no base was cut in two ways"),
        (["figure2", "--stop-when-sure", "0.01"], "learns from 2 or more contests"),
        (["figure2", "-pseeds=0,1,2", "--stop-when-sure", "0.01"], "will have 0: add splits"),
    ],
)
def test_what_can_never_stop_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments, "--runs", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())


# ------------------------------------------------------------------------------------------------------ a real sweep

SWEEP = """
from sweeps.figure2 import figure2
from yosinski import SKETCH

RECIPE = SKETCH.with_values({{"batch_size": 32, "epochs": 4.0, "evaluations": 20}})


def sweep():
    runs = figure2(splits=("{split}",), directions=("AB",), cuts=(2, 5), recipe=RECIPE)
    return [run for run in runs if run.parent is not None and not run.selffer]
"""


def test_a_sweep_is_stopped_when_it_is_sure_and_goes_on_later(
    small_split_file: Path, stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(early_stop, "PAUSE", 0.0)
    monkeypatch.setattr(early_stop, "BUSY", 1.0)
    (tmp_path / "mine.py").write_text(SWEEP.format(split=small_split_file))
    place = ["--runs", "runs", "--stores", str(stores), "--workers", "1", "--device", "cpu", "--precision", "float32"]

    def run(*more: str) -> str:
        with packs_in_this_process(pause=0.02 if more else 0.0):  # so slow that it is sure long before the end
            ended = yosinski("run", "mine.py", *place, *more)
        assert ended.status == 0, ended.out + ended.errors
        return ended.out

    refused = yosinski("run", "mine.py", *place, "--stop-when-sure", "0.5")
    assert (refused.status, "this sweep and runs will have 0: add splits" in refused.errors) == (2, True)

    recipe = SKETCH.with_values({"batch_size": 32, "epochs": 4.0, "evaluations": 20})
    a, b = (synthetic.base(half, recipe=recipe) for half in synthetic.halves("other.json"))
    for k, (base, half) in enumerate(((a, b.half), (b, a.half))):  # two contests to learn from
        for n in (2, 5):
            for plus in (False, True):
                curve = [0.2 + 0.03 * step + 0.002 * k * n * plus for step in range(20)]
                synthetic.finish(tmp_path / "runs", synthetic.copy(base, half, n, plus), curve[-1], curve, seconds=30.0)

    assert "decided: A to B, " in run("--stop-when-sure", "0.5")
    (note,) = (tmp_path / "runs" / "stopped").iterdir()
    written = files.read_json(note)
    (stop,) = written["stops"]
    documented = first_column("stopped/&lt;name&gt;-&lt;digest&gt;.json")
    assert {f"stops.{name}" for name in stop} | (written.keys() - {"format", "stops"}) == set(documented)
    assert (stop["epsilon"], stop["learned"]) == (0.5, 2)
    assert len(stop["runs"]) == 4
    assert 2 <= stop["looks"] < LOOKS
    assert stop["regret"] < 0.5
    folders = [specs.folder(tmp_path / "runs", run_id) for run_id in stop["runs"]]
    assert {states.state(path) for path in folders} == {"interrupted"}
    assert all((path / "checkpoint.pt").exists() for path in folders)
    curves = [states.read_curve(path) for path in folders]
    assert stop["share"] < 1  # decided before the end
    assert all(stop["looks"] <= len(curve) <= 20 for curve in curves)

    again = run("--stop-when-sure", "0.5")  # decided already: nothing is trained
    assert "started" not in again
    assert [states.read_curve(path) for path in folders] == curves
    assert len(stops(tmp_path / "runs")) == len(files.read_json(note)["stops"]) <= 2
    assert set(stops(tmp_path / "runs")) == set(STOPS)

    run()
    assert {states.state(path) for path in folders} == {"done"}
    assert [claims.latest_attempt(path) for path in folders] == [2] * len(folders)
    assert [states.read_curve(path)[: len(curve)] for path, curve in zip(folders, curves, strict=True)] == curves
    notes = early(frame(tmp_path / "runs"), stopped=stops(tmp_path / "runs")).notes
    assert any("it went on since, and that choice ends" in note for note in notes)
