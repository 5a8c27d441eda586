"""Similarity of two bases: laws of the scores, and `yosinski predict` of sweeps that share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from safetensors.torch import save_file
from scipy.spatial.distance import squareform
from scipy.stats import ortho_group, spearmanr
from sharing import Shared

from analysis.advice.report import advise
from analysis.frame import frame
from analysis.sharing.contrasts import FUSE, runs_of
from analysis.sharing.costs import beside_two
from analysis.sharing.predictors import similarities, together
from sweeps.branch import branch
from sweeps.fuse import fuse
from yosinski import files
from yosinski.cli.main import main
from yosinski.cli.similarity import pairs
from yosinski.data import store as data_stores
from yosinski.environment import Where
from yosinski.experiment.recipes import SKETCH
from yosinski.networks.tensors import fingerprint
from yosinski.prediction import ranking
from yosinski.prediction.similarity import linear_cka, rsa, similarity, top1
from yosinski.procedure import network_for
from yosinski.records import attempts
from yosinski.training import moments
from yosinski.training.stream import Stream

FEW = {"recipe": SKETCH, "examples_per_class": 2, "cuts": (0, 3, 7)}
WORDS = ["-p", "recipe=sketch", "-p", "examples_per_class=2", "-p", "cuts=0,3,7"]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((40, 6))


@pytest.fixture(scope="session")
def bases(shared: Shared, stores: Path) -> Path:
    """A runs directory with the bases of both sweeps, which have their initial weights."""

    def make(runs: Path) -> None:
        for base in (run for sweep in (fuse, branch) for run in sweep(**FEW) if run.is_base):
            own = moments.moments(Stream(data_stores.of(base.half, stores), base))
            tensors = {name: t.contiguous() for name, t in network_for(base, own, {}).state_dict().items()}
            attempt = attempts.claim(runs, base)
            assert attempt is not None
            attempt.save("weights.safetensors", lambda path, tensors=tensors: save_file(tensors, path))
            attempt.finish(synthetic.record(0.5, weights=fingerprint(tensors), parent_weights=None))

    return shared("similar", make)


# -------------------------------------------------------------------------------------------------------------- scores


def test_the_same_features_are_as_alike_as_can_be_whatever_their_turn_and_scale() -> None:
    turned = 3 * X @ ortho_group.rvs(6, random_state=0)
    assert linear_cka(X, turned + 1) == pytest.approx(1)
    assert rsa(X, 3 * X) == pytest.approx(1)
    assert rsa(X, 3 * X + X.mean(1, keepdims=True)) == pytest.approx(1)  # r is blind to the mean of an image's features


def test_rsa_is_spearmans_correlation_of_dissimilarities() -> None:
    other = X + RANDOM.standard_normal(X.shape)
    one, two = (squareform(1 - np.corrcoef(features), checks=False) for features in (X, other))
    assert rsa(X, other) == pytest.approx(spearmanr(one, two)[0])


def test_unrelated_features_are_not_alike_and_constant_ones_have_no_similarity() -> None:
    many = RANDOM.standard_normal((2, 2000, 4))
    assert abs(rsa(*many)) < 0.02
    assert linear_cka(*many) < 0.02
    for score in (rsa, linear_cka):
        assert score(X, np.ones((40, 3))) == 0


def test_the_highest_probability_answers() -> None:
    assert top1(np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([1, 1])) == 0.5


# ------------------------------------------------------------------------------------------------------- for networks


def found(runs: Path, sweep: str, stores: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    words = ["predict", sweep, *WORDS, *more, "--runs", str(runs), "--stores", str(stores), "--device", "cpu", "--json"]
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


def test_inputs_are_compared_from_the_pixels_on_and_tasks_from_the_first_layer(
    bases: Path, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs,) = found(bases, "fuse", stores, capsys, "--images", "300")
    (tasks,) = found(bases, "branch", stores, capsys, "--images", "300")
    assert [cut["n"] for cut in inputs["cuts"]] == list(range(8))
    assert [cut["n"] for cut in tasks["cuts"]] == list(range(1, 8))
    assert inputs["images"]["used"] == 300
    assert tasks["images"]["used"] == 600  # of both tasks
    assert set(inputs["together"]) == {"select_top1", "test_top1"}
    assert "together" not in tasks
    for value in (inputs, tasks):
        assert all(-1 <= score <= 1 for cut in value["cuts"] for score in cut["scores"].values())
        assert files.read_json(bases / "similarities" / f"{value['digest']}.json")["cuts"] == value["cuts"]


def test_a_network_is_as_alike_itself_as_can_be(bases: Path, stores: Path) -> None:
    base = ranking.base(next(run for run in branch(**FEW) if run.is_base), bases)
    where = Where(bases, stores, "cpu", "float32", 1)
    value = similarity((base, base), "joint", where, 300)
    scores = [score for cut in value["cuts"] for score in cut["scores"].values()]
    assert scores == pytest.approx([1.0] * len(scores))
    assert value["images"]["used"] == 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure2"], "sweep figure2 has no networks of two tasks or inputs; fuse and branch have"),
        (["fuse", "--base", "x"], "--base is about a single base"),
        (["fuse"], "is missing, and bases must be done; `yosinski run fuse"),
        ([], "name a base with --base, or a sweep"),
        (["-p", "cuts=3", "--base", "x"], "-p is for a sweep"),
    ],
)
def test_bad_input(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *words, "--runs", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------- for advice


def leave(runs: Path, top1_of: dict[int, float]) -> None:
    """Bases of x at 50 %, fused networks, and similarities that are highest at n = 3; x and y together reach 60 %."""
    for split in ("random:0", "random:1", "random:2"):
        x, y, *shared = fuse(splits=(split,), cuts=tuple(top1_of), controls=())
        luck = int(split[-1]) / 1000
        for base in (x, y):
            synthetic.finish(runs, base, 0.5 + luck, [0.5 + luck])
        for run in shared:  # of differences that are exactly equal a t test would warn
            accuracy = top1_of[run.cut] + 2 * luck * (1 + run.cut / 100)
            synthetic.finish(runs, run, accuracy, [accuracy])
        cuts = [{"n": n, "name": "", "scores": {"rsa": 1 - abs(n - 3) / 10, "cka": 0.5}} for n in range(8)]
        about = [{"base": base.id, "weights": f"w-{base.id}", "half": base.half.digest} for base in (x, y)]
        value = {"version": 1, "treatment": "fused", "bases": about, "images": {"used": 10}, "cuts": cuts}
        (runs / "similarities").mkdir(exist_ok=True)
        both = {"select_top1": 0.6 + luck, "test_top1": 0.6 + luck}
        files.write_json(runs / "similarities" / f"{split[-1]}.json", {**value, "together": both})


def test_advice_has_the_regret_of_similarity_and_two_networks_of_their_own(tmp_path: Path) -> None:
    leave(tmp_path, {0: 0.55, 3: 0.62, 7: 0.66})
    runs = runs_of(frame(tmp_path), FUSE, "select_top1")
    against: Any = beside_two(runs, together(runs, FUSE, tmp_path, "select_top1")).set_index("n")["points"]
    assert against.to_dict() == pytest.approx({0: -4.9, 3: 2.1, 7: 6.1}, abs=0.05)
    (part,) = advise(frame(tmp_path), directory=tmp_path).parts
    sections = {section.title: section for section in part.sections}
    regrets: Any = sections["Cheap predictors"].tables[0].rows.set_index("predictor")["regret"]
    assert regrets["rsa"] == pytest.approx(0.04, abs=1e-3)
    assert regrets["last cut"] == 0
    assert "better than two networks of their own at n = 3, 7; worse at n = 0" in sections["At equal cost"].text[-1]
    assert any("two networks of their own that are asked together" in text for text in sections["Recommendation"].text)


def test_what_is_stale_or_damaged_is_said(tmp_path: Path) -> None:
    leave(tmp_path, {0: 0.55, 7: 0.66})
    path = tmp_path / "similarities" / "0.json"
    value = files.read_json(path)
    value["bases"][0]["weights"] = "others"
    files.write_json(path, {name: of for name, of in value.items() if name != "format"})
    (tmp_path / "similarities" / "1.json").write_text("{")
    known, said = similarities(tmp_path, FUSE)
    assert len(known) == 1
    assert any("weights that a base no longer has (0.json)" in text for text in said)
    assert any("1 damaged file (1.json)" in text for text in said)


def test_every_two_of_several_tasks_are_compared_and_the_first_input_with_the_others() -> None:
    three = pairs(branch(asks=("class", "domain", "group"), cuts=(3,)))
    assert [(one.name, other.name) for _, one, other in three] == [
        ("baseA", "baseB"),
        ("baseA", "baseC"),
        ("baseB", "baseC"),
    ]
    assert [(one.name, other.name) for _, one, other in pairs(fuse(cuts=(3,)))] == [("basexA", "baseyA")]
    assert pairs(branch(cuts=(3,), controls=())) == pairs(branch(cuts=(3, 7)))
