"""Where to cut: contrasts and intervals by hand, choices on known truth, the report on whole directories."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from scipy.special import polygamma, stdtrit

from analysis import frame
from analysis.advice import render
from analysis.advice.answer import answer
from analysis.advice.blocks import blocks, caveats
from analysis.advice.choice import Cells, best, not_told_from_best, one_standard_error, posterior
from analysis.advice.classes import shrink
from analysis.advice.contrasts import decompose, holm, intervals, moderated, prior
from analysis.advice.figures import pareto
from analysis.advice.report import advise
from analysis.paper import networks
from sweeps import find
from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TREATMENTS, TreatmentName, copies

# ---------------------------------------------------------------------------------------------------------- contrasts


def runs(*rows: tuple[str, int, str, str, float]) -> pd.DataFrame:
    """Rows of series, n, split, target half and value, all of one seed."""
    table = pd.DataFrame(rows, columns=["series", "n", "replicate", "target_half", "value"])
    return table.assign(seed="0")


def test_contrasts_by_hand() -> None:
    """Directions are averaged within a split first, and a target without a partner is in no pair."""
    table = runs(
        *(("base", 0, split, split + letter, 0.5) for split in "xy" for letter in "ab"),
        ("BnB", 3, "x", "xa", 0.48), ("BnB", 3, "x", "xb", 0.46), ("BnB", 3, "y", "ya", 0.40),
        ("AnB", 3, "x", "xa", 0.47), ("AnB+", 3, "y", "yb", 0.52),
    )  # fmt: skip
    rows = decompose(table).set_index(["contrast", "n"])
    assert rows.loc[("C", 3), "points"] == pytest.approx((3 + 10) / 2)
    assert list(rows.loc[("C", 3), ["pairs", "splits"]]) == [3, 2]
    assert rows.loc[("S", 3), "points"] == pytest.approx(1)
    assert rows.loc[("G", 3), "pairs"] == 0
    assert math.isnan(rows.loc[("G", 3), "points"])  # pyright: ignore
    assert rows.loc[("T", 3), "points"] == pytest.approx(2)
    assert rows[["low", "calm_low", "p_holm"]].isna().to_numpy().all()  # fewer than three splits


def test_intervals_by_hand() -> None:
    rows = intervals(pd.DataFrame({1: [1.0, 2.0, 3.0], 2: [1.0, 2.0, np.nan]}))
    assert rows.loc[1, "high"] - rows.loc[1, "low"] == pytest.approx(2 * stdtrit(2, 0.975) / math.sqrt(3))
    assert rows.loc[1, "calm_low"] == pytest.approx(rows.loc[1, "low"])  # a single variance has nothing to learn from
    assert rows.loc[2, ["low", "calm_low", "p"]].isna().all()
    assert list(rows["points"]) == [2.0, 1.5]


def test_prior_of_variances() -> None:
    """It is found again in variances that were drawn from it, and is infinite where they are all but equal."""
    rng = np.random.default_rng(0)
    df = np.full(20_000, 3.0)
    true = 0.5 * 6 / rng.chisquare(6, len(df))
    d0, s02 = prior(true * rng.chisquare(3, len(df)) / 3, df)
    assert d0 == pytest.approx(6, rel=0.1)
    assert s02 == pytest.approx(0.5, rel=0.03)
    assert prior(np.array([1.0, 1.1, 0.9]), np.full(3, 3.0))[0] == math.inf
    e = np.log([1.0, 50.0, 0.02])
    d0, _ = prior(np.exp(e), np.full(3, 3.0))
    assert polygamma(1, d0 / 2) == pytest.approx(e.var(ddof=1) - polygamma(1, 1.5))  # its definition


def test_moderated_variance_lies_between_and_never_has_more_freedom_than_all_cuts() -> None:
    rng = np.random.default_rng(1)
    means = pd.DataFrame(rng.normal(size=(4, 7)) * [1, 1, 1, 1, 5, 0.2, 1])
    variance, df = moderated(means)
    assert (variance - means.var()).iloc[4] < 0 < (variance - means.var()).iloc[5]
    assert df.between(3, 21).all()
    same = pd.DataFrame(np.outer(rng.normal(size=4), np.ones(7)))
    assert moderated(same)[1].tolist() == pytest.approx([3] * 7)  # seven copies of one cut are one cut


def test_holm_by_hand() -> None:
    adjusted = holm(pd.Series([0.01, np.nan, 0.04, 0.03]))
    assert adjusted.iloc[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(adjusted.iloc[1])


# ------------------------------------------------------------------------------------------------------------ choices


def grid(splits: int, choices: int = 3) -> Cells:
    """Two targets per split, nothing missing."""
    codes = [(s, 2 * s + t, c) for s in range(splits) for t in range(2) for c in range(choices)]
    return Cells(*np.array(codes).T)


def test_balanced_differences_are_those_of_the_means() -> None:
    """Whatever the variances, in a grid without holes the best guess of a difference is that of the means."""
    cells = grid(4)
    y = np.random.default_rng(0).normal(size=len(cells.choice)) + 3.0 * cells.target
    means = posterior(cells, y).means()[:, 0]
    plain = np.array([y[cells.choice == c].mean() for c in range(3)])
    assert means - means[0] == pytest.approx(plain - plain[0])


def test_a_level_that_a_target_shares_is_no_difference() -> None:
    """A choice measured on the easy targets only is compared there."""
    cells = grid(6)
    hard = cells.target % 2 == 0
    kept = ~(hard & (cells.choice == 2))
    cells = Cells(cells.replicate[kept], cells.target[kept], cells.choice[kept])
    y = np.array([0.0, 1.0, 1.5])[cells.choice] + 10.0 * (cells.target % 2)
    y += np.random.default_rng(0).normal(size=len(y)) * 0.05
    means = posterior(cells, y).means()[:, 0]
    assert means - means[0] == pytest.approx([0, 1, 1.5], abs=0.1)


def test_sets_by_hand() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([0.0, -0.5, -10.0]) + rng.standard_normal((20_000, 3))
    assert best(draws).sum() == pytest.approx(1)
    assert best(draws)[1] == pytest.approx(0.362, abs=0.015)  # P(N(-0.5, 2) > 0)
    assert not_told_from_best(draws).tolist() == [True, True, False]
    assert one_standard_error(draws).tolist() == [True, True, False]
    assert one_standard_error(draws * [1, 1, 1] - [0, 1.0, 0]).tolist() == [True, False, False]  # 1.5 > sqrt 2


def test_pareto_and_shrinkage_by_hand() -> None:
    assert pareto(np.array([1, 2, 2, 3]), np.array([5, 6, 4, 6])).tolist() == [True, True, False, False]
    moved, errors, mean, spread = shrink(np.array([1.0, 3.0]), np.array([1.0, 1.0]))  # tau2 = 2 - 1
    assert (mean, spread) == pytest.approx((2, 1))
    assert moved.tolist() == pytest.approx([1.5, 2.5])
    assert errors.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert shrink(np.array([1.9, 2.1]), np.array([1.0, 1.0]))[0].tolist() == pytest.approx([2, 2])


# --------------------------------------------------------------------------------------------------------- simulation

BASE, FROZEN, SELFFER = slice(0, 1), slice(1, 8), slice(15, 22)  # columns; 8 to 14 are AnB+
TRUTH = np.array(
    [
        *(0, 0.3, -0.1, -0.6, -2.5, -4.7, -4.4, -8.3),
        *(0.4, 0.7, 1.3, 1.05, 1.0, 1.2, 1.25),
        *(0.4, 0.05, -0.2, -1.85, -3.0, -0.45, 0.0),
    ]
)  # points, about as published
TOP, WORSE = 10, 4  # A3B+, and the frozen copy that is put four standard errors below it
TARGET, SPLIT, MIXED, REST = 0.55, 0.1, 0.15, 0.22  # standard deviations; the published networks': 0.56, 0, 0.03, 0.22


def like_published(splits: int) -> Cells:
    """The cells that are published: AnB everywhere, AnB+ on targets B of two splits; every four splits again."""
    codes = []
    for s in range(splits):
        tuned = {0: range(8, 15), 1: range(9, 12)}.get(s % 4, ())
        codes += [(s, 2 * s, c) for c in range(8)] + [(s, 2 * s + 1, c) for c in (*range(8), *tuned)]
    return Cells(*np.array(codes).T)


def four_errors(cells: Cells) -> float:
    """Four standard errors of the difference of TOP and WORSE, from the true variances."""
    same = [np.equal.outer(codes, codes) for codes in (cells.replicate, cells.target, cells.choice)]
    v = SPLIT**2 * same[0] + TARGET**2 * same[1] + MIXED**2 * (same[0] & same[2]) + REST**2 * np.eye(len(same[0]))
    x = np.eye(cells.choices)[cells.choice]
    c = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    return 4 * math.sqrt(c[TOP, TOP] + c[WORSE, WORSE] - 2 * c[TOP, WORSE])


def simulate(splits: int, heavy: bool, grids: int, draws: int = 2000) -> dict[str, float]:
    """How often the set holds the best and leaves out the worse one, and how often intervals of C and S cover.

    heavy: effects of splits are t with 5 degrees of freedom, of the same variance, not normal.
    """
    rng = np.random.default_rng([splits, heavy])

    def of_split(*shape: int) -> np.ndarray:
        return rng.standard_t(5, shape) / math.sqrt(5 / 3) if heavy else rng.standard_normal(shape)

    cells, truth = like_published(splits), TRUTH.copy()
    truth[WORSE] = truth[TOP] - four_errors(cells)
    y = truth[:, None] + SPLIT * of_split(splits, 1, 1, grids) + TARGET * rng.standard_normal((splits, 2, 1, grids))
    y = y + MIXED * of_split(splits, 1, len(truth), grids) + REST * rng.standard_normal((splits, 2, len(truth), grids))

    fitted = posterior(cells, y[cells.replicate, cells.target % 2, cells.choice])
    sets = np.array([not_told_from_best(fitted.draws(rng, draws, g)) for g in range(grids)])
    of_a = y[:, 0]
    covered = {"low": [], "calm_low": []}
    for above, below in ((BASE, SELFFER), (SELFFER, FROZEN)):
        differences, true = of_a[:, above] - of_a[:, below], truth[above] - truth[below]
        for g in range(grids):
            found = intervals(pd.DataFrame(differences[:, :, g]))
            for low, hits in covered.items():
                hits.append((found[low] <= true) & (true <= found[low.replace("low", "high")]))
    shares = {low: float(np.mean(hits)) for low, hits in covered.items()}
    return {"held": sets[:, TOP].mean(), "left out": 1 - sets[:, WORSE].mean(), **shares}


@pytest.mark.slow
@pytest.mark.parametrize("splits", [4, 8])
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "t5"])
def test_known_truth_is_covered_and_the_best_is_held(splits: int, heavy: bool) -> None:
    """1000 grids each; what was measured is in docs/log.md."""
    found = simulate(splits, heavy, 1000)
    assert 0.93 <= found["low"] <= 0.98, found
    assert 0.93 <= found["calm_low"] <= 0.98, found
    assert found["held"] >= 0.95, found
    assert splits < 8 or found["left out"] >= 0.8, found


def test_known_truth_in_a_few_grids() -> None:
    found = simulate(8, heavy=False, grids=60, draws=1000)
    assert 0.9 <= found["low"] <= 0.99, found
    assert 0.9 <= found["calm_low"] <= 0.99, found
    assert found["held"] >= 0.9, found
    assert found["left out"] >= 0.75, found


# ------------------------------------------------------------------------------------------------- records and reports


def fill(
    runs: Path, splits: int = 4, volumes: tuple[int | None, ...] = (None,), seeds: tuple[int, ...] = (0,)
) -> list[Run]:
    """A grid with cuts 3 and 7: frozen copies lose two points per layer, fine-tuned ones gain one point."""
    rng, made = np.random.default_rng(0), []

    def finish(run: Run, points: float) -> None:
        top1 = 0.8 + (points + rng.normal(0, 0.2)) / 100
        right = {"images": [20] * 3, "correct": [round(20 * top1)] * 3}
        synthetic.finish(runs, run, top1 - 0.01, [top1], per_class={"select": right, "test": right})
        made.append(run)

    for split in range(splits):
        for seed in seeds:
            bases = [synthetic.base(half, seed) for half in synthetic.halves(f"random:{split}")]
            for base in bases:
                finish(base, split)
            for volume in volumes:
                lost = 0.0 if volume is None else 100 / volume
                for target, source in (bases, bases[::-1]):
                    own = replace(target, examples_per_class=volume)
                    if volume is not None:
                        finish(own, split - lost)
                    for n in (3, 7):
                        for parent in (source, target):
                            worse = 2 * n if parent is source else 0
                            finish(own.copy(n, "frozen", parent), split - worse / 2 if volume == 5 else split - worse)
                            finish(own.copy(n, "tuned", parent), split + 1 - 0.9 * lost + (n == 7) * -1)
    return made


def section(made: dict, part: int, title: str) -> dict:
    """One section of a report's JSON."""
    return next(one for one in made["parts"][part]["sections"] if one["title"] == title)


def test_published_networks() -> None:
    """Fine-tuned copies are best; G has no pair on any target; C and S are those of figure 2."""
    (block,) = blocks(networks())
    advice = answer(block)
    assert set(advice.among["series"]) == {"AnB+"}
    assert {"A3B+", "A7B+"} <= set(advice.among["choice"])
    assert advice.rows.set_index("choice").loc["A7B", "trained_parameters"] == 4097 * 1000  # the head
    rows = decompose(block.good).set_index(["contrast", "n"])
    assert rows.loc[("C", 5), "points"] == pytest.approx(2.97, abs=0.01)
    assert rows.loc[("S", 7), "points"] == pytest.approx(8.24, abs=0.01)
    assert (rows.loc["G", "pairs"] == 0).all()
    with pytest.raises(BadInput, match="test_top1"):
        blocks(networks(), "test_top1")


def test_report_on_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "runs")
    outs = [tmp_path / f"out.{kind}" for kind in ("md", "json", "html")]
    options = [word for path in outs for word in ("--out", str(path))]
    assert main(["advise", "--runs", str(tmp_path / "runs"), *options]) == 0
    output = capsys.readouterr().out
    assert "cut at n = 3 (conv3) and fine-tune everything (A3B+)" in output
    made = json.loads(outs[1].read_text())
    rows = {row["choice"]: row for row in section(made, 0, "Recommendation")["tables"][0]["rows"]}
    assert rows["A3B+"]["p_best"] > 0.95
    assert not rows["A7B"]["among"]
    assert rows["A7B"]["points"] == pytest.approx(-15, abs=0.5)
    assert "which had no part in the choice, A3B+ reaches 0.8" in output
    page = outs[2].read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "| A3B+ |" in outs[0].read_text()


def test_what_is_open_becomes_a_sweep(tmp_path: Path) -> None:
    """It lists runs that are there, too, under the same ids: only the rest would be trained."""
    fill(tmp_path / "runs", splits=2)
    made = advise(frame(tmp_path / "runs"), directory=tmp_path / "runs")
    assert "2 split(s), and at least 3 are needed" in made.parts[0].sections[0].text[0]
    assert render.write(made, tmp_path / "settle.py")
    runs = find(str(tmp_path / "settle.py"))()
    assert {run.half.split for run in runs} == {f"random:{k}" for k in range(4)}
    copies = [run for run in runs if run.parent]
    assert {(run.treatment, run.cut) for run in copies} == {(t, n) for t in ("frozen", "tuned") for n in (3, 7)}
    assert not any(run.selffer for run in copies)
    assert {run.recipe for run in runs} == {synthetic.RECIPE}


@pytest.mark.parametrize("treatment", copies())
def test_every_treatment_is_advised_and_settled_by_its_own_name(tmp_path: Path, treatment: TreatmentName) -> None:
    recipe = synthetic.RECIPE.with_values({"mirror": False})
    for split in range(2):
        bases = [synthetic.base(half, recipe=recipe) for half in synthetic.halves(f"random:{split}")]
        for base in bases:
            synthetic.finish(tmp_path, base, 0.7, [0.7])
        for target, source in (bases, bases[::-1]):
            synthetic.finish(tmp_path, target.copy(3, treatment, source), 0.8, [0.8])
    made = advise(frame(tmp_path), directory=tmp_path)
    recommended = made.parts[0].sections[0].text[1]
    entry = TREATMENTS[treatment]
    assert f"cut at n = 3 (conv3) and {entry.advice} (A3B{entry.mark})" in recommended
    assert render.write(made, tmp_path / "settle.py")
    runs = find(str(tmp_path / "settle.py"))()
    assert {(run.treatment, run.cut) for run in runs if run.parent} == {(treatment, 3)}
    assert {run.recipe for run in runs} == {recipe}
    assert "least_area" not in (tmp_path / "settle.py").read_text()  # it is as before


def test_volumes_are_blocks_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, volumes=(None, 5, 20))
    made = json.loads(advise(frame(tmp_path), directory=tmp_path).as_json())
    assert [part["title"].rpartition(", ")[2] for part in made["parts"][:3]] != ["", "", ""]
    across = section(made, 3, "By images per class")
    assert "5 images per class: cut at n = 3 (conv3) and freeze" in " ".join(across["text"])
    assert "All images per class: cut at n = 3 (conv3) and fine-tune" in " ".join(across["text"])
    of_few = next(block for block in blocks(frame(tmp_path)) if block.examples == 5)
    assert "no co-adaptation" in " ".join(caveats(of_few))


def test_unlike_runs_are_not_averaged(tmp_path: Path) -> None:
    """Two recipes make two blocks, told apart in their titles; mixed arithmetic is said."""
    a, b = synthetic.halves()
    for recipe in (synthetic.RECIPE, synthetic.RECIPE.with_values({"epochs": 3.0})):
        bases = [synthetic.base(half, recipe=recipe) for half in (a, b)]
        arithmetic = {"dtype": "bfloat16" if recipe.epochs == 3 else "float32", "device": "cpu", "threads": 1}
        for base in bases:
            synthetic.finish(tmp_path, base, 0.5, [0.5])
        synthetic.finish(tmp_path, synthetic.copy(bases[0], b, 3), 0.4, [0.4], arithmetic=arithmetic)
    made = blocks(frame(tmp_path))
    assert len(made) == 2
    assert made[0].title != made[1].title
    assert [("Mixed arithmetic" in " ".join(caveats(block))) for block in made].count(True) == 1


def test_what_cannot_be_concluded_is_said(tmp_path: Path) -> None:
    """One split, no controls, a stuck run, a stale copy, a missing number: the rest is told."""
    a, b = (synthetic.base(half) for half in synthetic.halves())
    for base in (a, b):
        synthetic.finish(tmp_path, base, 0.5, [0.5])
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 3), 0.4, [0.4])
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 4), 0.4, [0.4], parent_weights="other")
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 5), 0.1, [0.1], state="stuck")
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 6), None)
    (block,) = blocks(frame(tmp_path))
    text = " ".join(caveats(block))
    for words in ("1 split(s): no interval", "No BnB counts", "trained anew", "stuck at chance", "without a number"):
        assert words in text
    advice = answer(block)
    assert not advice.top
    assert advice.rows.set_index("choice").loc["A3B", "points"] == pytest.approx(-10)
    whole = advise(frame(tmp_path), directory=tmp_path)
    assert "have no numbers per class" in render.markdown(whole)


def test_seeds_stand_in_for_splits_where_there_is_one(tmp_path: Path) -> None:
    fill(tmp_path, splits=1, seeds=(0, 1, 2, 3))
    (block,) = blocks(frame(tmp_path))
    assert (block.replicates, block.number) == ("seed", 4)
    assert "these two halves only" in " ".join(caveats(block))
    assert answer(block).top == "A3B+"


def test_bases_alone_have_no_cut(tmp_path: Path) -> None:
    synthetic.finish(tmp_path / "runs", synthetic.base(synthetic.halves()[0]), 0.5, [0.5])
    assert main(["advise", "--runs", str(tmp_path / "runs")]) == 2
    assert main(["advise", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "a.pdf")]) == 2
