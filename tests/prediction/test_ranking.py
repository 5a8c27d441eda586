"""`yosinski predict` as a user calls it, and its predictions against grids of runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pictures
import pytest
import synthetic
import torch
from scipy.stats import ttest_1samp

from analysis import frame
from analysis.advice import render
from analysis.advice.document import Section
from analysis.advice.predictors import against_rules, predictions, quality
from analysis.advice.report import advise
from yosinski import files
from yosinski.cli.main import main
from yosinski.data.halves import Split
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks import build
from yosinski.prediction import ranking
from yosinski.prediction.ranking import common_dimension, features, pooled, projection, thinned
from yosinski.pretrained import outside
from yosinski.procedure import run_pack
from yosinski.records import specs, states
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.evaluation import image_set

CHEAP = ["knn", "ridge", "logistic", "hscore", "logme", "transrate", "cka_against", "cka_untrained"]
CPU = Arithmetic("float32", "cpu", 1)


@pytest.fixture(scope="module")
def bases(small_split: Split, small_recipe: Recipe) -> list[Run]:
    """Of halves A and B."""
    return [Run("alexnet32", half, small_recipe) for half in (small_split.a, small_split.b)]


@pytest.fixture(scope="module")
def runs(bases: list[Run], stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both bases, trained, and a copy that is not."""
    path = tmp_path_factory.mktemp("predict") / "runs"
    for run in bases:
        specs.enrol(path, run)
        run_pack([run.id], Where(path, stores, "cpu", "float32"))
    specs.enrol(path, bases[1].copy(3, "frozen", bases[0]))
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of one of our own networks."""
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    torch.save(build.drawn("alexnet32", 6, 1, "kaiming", 1).state_dict(), path)
    return path


def predict(runs: Path, stores: Path, *arguments: str) -> int:
    return main(["predict", "--runs", str(runs), "--stores", str(stores), "--threads", "1", *arguments])


# --------------------------------------------------------------------------------------------------------- as a user


def test_cuts_are_ranked_and_written(
    runs: Path,
    stores: Path,
    small_split_file: Path,
    small_split: Split,
    bases: list[Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outs = [tmp_path / "new" / f"out{kind}" for kind in (".csv", ".json", ".png", ".svg")]
    options = ["--base", bases[0].id[:8], "--against", bases[1].id, "--split", str(small_split_file), "--half", "B"]
    assert predict(runs, stores, *options, *(word for path in outs for word in ("--out", str(path)))) == 0
    output = capsys.readouterr().out
    assert f"baseA ({bases[0].id[:8]}) cut for half B of" in output
    assert all(name in output for name in [*CHEAP, *bases[0].cuts, *map(str, outs)])

    made = json.loads(outs[1].read_text())
    kept = json.loads((runs / "predictions" / f"{made['digest']}.json").read_text())
    assert {**made, "seconds": 0} == {**kept, "seconds": 0}
    assert (made["base"], made["half"], made["against"]["base"]) == (bases[0].id, small_split.b.digest, bases[1].id)
    assert made["weights"] == (states.read_record(specs.folder(runs, bases[0].id)) or {})["weights"]
    assert [cut["name"] for cut in made["cuts"]] == list(bases[0].cuts)
    assert all(list(cut["scores"]) == CHEAP for cut in made["cuts"])
    assert made["cuts"][0]["scores"]["cka_untrained"] > made["cuts"][6]["scores"]["cka_untrained"]
    table = pd.read_csv(outs[0])
    assert len(table) == 7 * len(CHEAP)
    chosen = table.loc[(table["n"] == 4) & (table["predictor"] == "logme"), "score"]
    assert chosen.tolist() == pytest.approx([made["cuts"][3]["scores"]["logme"]], rel=1e-12)
    assert outs[2].read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in outs[3].read_text()

    assert predict(runs, stores, *options, "--predictors", "logme,knn", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["digest"] != made["digest"]
    for one, other in zip(again["cuts"], made["cuts"], strict=True):
        assert list(one["scores"]) == ["knn", "logme"]
        assert one["scores"] == pytest.approx({name: other["scores"][name] for name in one["scores"]}, rel=1e-9)


def test_all_classes_are_the_target_unless_a_split_is_given(
    runs: Path, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(runs, stores, "--base", "baseA", "--images", "400", "--predictors", "hscore", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert len(specs.load_half(runs, made["half"]).classes) == 200
    assert made["images"]["train"] == {"used": 400, "of": 12000}


def test_weights_from_outside_have_no_beginning(
    tmp_path: Path, runs: Path, stores: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are brought in as for a sweep; what cannot be had is told; a base of a run may stand beside them."""
    options = ["--base", str(own), "--network", "alexnet32", "--data", "emoji", "--images", "400"]
    assert predict(tmp_path / "runs", stores, *options) == 0
    output = capsys.readouterr().out
    assert "no cka_against: it compares two bases" in output
    assert "no cka_untrained: somebody else trained outsideW" in output
    base = outside.base("alexnet32", outside.described("alexnet32", str(own)))
    assert states.state(specs.folder(tmp_path / "runs", base.id)) == "done"
    assert predict(tmp_path / "runs", stores, "--base", "outsideW", "--data", "emoji", "--images", "400", "--json") == 0
    (kept,) = (tmp_path / "runs" / "predictions").iterdir()
    assert kept.stem == json.loads(capsys.readouterr().out)["digest"]

    options = ["--base", "baseA", "--against", str(own), "--images", "400", "--predictors", "cka_against", "--json"]
    assert predict(runs, stores, *options) == 0
    scores = [cut["scores"]["cka_against"] for cut in json.loads(capsys.readouterr().out)["cuts"]]
    assert all(0 < score < 1 for score in scores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--base baseA --predictors lep", "unknown predictor 'lep'; choose from: knn, ridge"),
        ("--base baseA --predictors knn,leep", "LEEP (Nguyen et al. 2020) chooses among sources, not layers"),
        ("--base baseA --predictors cka_against", "no cka_against: it compares two bases, give the other one"),
        ("--base 0123abcd", "no run '0123abcd' in"),
        ("--base A3B", "is a copy; give the id of a base"),
        ("--base baseA --network caffenet", "is of alexnet32, not of caffenet"),
        ("--base baseA --half B", "--half chooses one half of a split: give --split, too"),
        ("--base baseA --split odd", "unknown split 'odd'; choose from: random:SEED"),
        ("--base baseA --split random:0 --half C", "unknown half 'C'; choose from: A, B"),
        ("--base baseA --data imagefolder:nowhere", "nowhere: no directory"),
        ("--base baseA --data imagefolder:torn", "24 of 24 images are broken"),
        ("--base baseA --data emojis", "unknown data set 'emojis'; choose from: emoji"),
        ("--base baseA --images 300", "300 images of 200 classes are too few"),
        ("--base baseA --images 1", "--images must be at least 2, not 1"),
        ("--base baseA --threads 0", "--threads must be at least 1, not 0"),
        ("--base baseA --out cuts.txt", "unknown kind of file (cuts.txt) '.txt'; choose from: .csv, .json"),
        ("--base own.pth", "own.pth names weights: say of which network, with --network"),
        ("--base own.pth --network alexnet32", "give the images of the target with --data"),
        ("--base nowhere.pth --network alexnet32", "no file "),
        ("--base own.pth --network resnet18@32 --data emoji", "does not fit resnet18@32"),
        ("--base baseA --against other.pth", "does not fit alexnet32"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    arguments: str,
    message: str,
    runs: Path,
    stores: Path,
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.pth").write_bytes(own.read_bytes())
    torch.save(pictures.resnet18().state_dict(), tmp_path / "other.pth")
    for kind in "ab":
        (tmp_path / "torn" / kind).mkdir(parents=True)
        for k in range(12):
            (tmp_path / "torn" / kind / f"{k}.png").write_bytes(b"\x89PNG, and nothing else")
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in runs.rglob("*"))
    assert predict(runs, stores, *arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert captured.err.splitlines()[-1].startswith("yosinski: ")
    assert sorted(path for path in runs.rglob("*")) == before


def test_a_base_whose_weights_are_damaged_is_a_failure(
    tmp_path: Path, runs: Path, stores: Path, bases: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    record = specs.folder(tmp_path / "runs", bases[0].id) / "record.json"
    synthetic.damage(record, lambda value: value.update(weights="others"))
    before = sorted((tmp_path / "runs").rglob("*"))
    assert predict(tmp_path / "runs", stores, "--base", "baseA", "--images", "400") == 1
    assert "does not hold the weights that the record of baseA" in capsys.readouterr().err
    assert sorted((tmp_path / "runs").rglob("*")) == before


# ------------------------------------------------------------------------------------------------------ what is seen


def test_test_images_are_never_touched(
    runs: Path, store: Store, stores: Path, bases: list[Run], small_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other test images give the same scores to the last bit, other select images do not."""
    source, against = (ranking.base(run, runs) for run in bases)

    def scores_with_black(name: str) -> list[dict[str, float]]:
        images = np.array(store.images)
        if name:
            images[store.rows(small_split.b, name)[0]] = 0
        monkeypatch.setattr(ranking.stores, "of", lambda half, path: replace(store, images=images))
        made = ranking.predict(source, small_split.b, Where(runs, stores, "cpu", "float32"), CHEAP, against)
        return [cut["scores"] for cut in made["cuts"]]

    as_it_is = scores_with_black("")
    assert scores_with_black("test") == as_it_is
    changed = {"select": CHEAP[:3], "train": CHEAP}  # only probes look at select images
    for name, moved in changed.items():
        for one, other in zip(scores_with_black(name), as_it_is, strict=True):
            assert [score for score in CHEAP if one[score] != other[score]] == moved


def test_batch_norm_uses_the_statistics_that_it_has(store: Store, small_split: Split, small_recipe: Recipe) -> None:
    """The features of an image do not depend on those beside it, and come out with one dimension at every cut."""
    run = Run("resnet18@32", small_split.b, small_recipe)
    network = build.drawn(run.network, run.outputs, 1, "kaiming", 0)
    images = image_set(store, run, "select")
    several = replace(images, rows=images.rows[:5], labels=images.labels[:5])
    dimension = common_dimension(network.eval(), store, images)
    together = features(network, store, several, dimension, CPU)
    assert [of_cut.shape for of_cut in together] == [(5, dimension)] * len(run.cuts)
    alone = features(network, store, replace(images, rows=images.rows[:1], labels=images.labels[:1]), dimension, CPU)
    for of_cut, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(of_cut[:1], one, rtol=1e-4, atol=1e-4 * np.abs(of_cut).max())
    for module in network.modules():
        assert not module.training


def test_bases_are_networks_in_evaluation(runs: Path, bases: list[Run], store: Store) -> None:
    """Before training it is the network with which its run began: no tensor but the moments is that of afterwards."""
    base = ranking.base(bases[0], runs)
    assert base.untrained is not None
    assert not base.trained.training
    assert not base.untrained.training
    after = base.trained.state_dict()
    same = {name for name, tensor in base.untrained.state_dict().items() if torch.equal(tensor, after[name])}
    assert same == {"conv1.standardise.mean", "conv1.standardise.std"}


def test_features_are_pooled_to_so_many() -> None:
    maps = torch.arange(2 * 8 * 4 * 4.0).view(2, 8, 4, 4)
    torch.testing.assert_close(pooled(maps, 8), maps.mean((2, 3)))
    assert pooled(maps, 9).shape == (2, 8 * 4)
    assert torch.equal(pooled(maps, 10**6), maps.flatten(1))
    last = torch.rand(2, 4, 4, 7)  # channels last
    torch.testing.assert_close(pooled(last, 7), last.mean((1, 2)))
    tokens = torch.rand(2, 5, 3)
    torch.testing.assert_close(pooled(tokens, 100), tokens.mean(1))
    assert torch.equal(pooled(tokens[:, 0], 100), tokens[:, 0])
    with pytest.raises(Failure, match=r"\(1, 2, 3, 4, 5\)"):
        pooled(torch.zeros(1, 2, 3, 4, 5), 1)
    turned = projection(40, 12)
    torch.testing.assert_close(turned.T @ turned, torch.eye(12), rtol=0, atol=1e-5)


def test_few_images_are_drawn_from_every_class_alike(store: Store, bases: list[Run]) -> None:
    images = image_set(store, bases[0], "train")
    few = thinned(images, 52, "key")
    assert np.bincount(few.labels).tolist() == [10] * 5
    assert set(few.rows) < set(images.rows)
    labels = dict(zip(images.rows, images.labels, strict=True))
    assert [labels[row] for row in few.rows] == list(few.labels)
    assert not np.array_equal(few.rows, thinned(images, 52, "another key").rows)
    assert thinned(images, len(images.rows), "key") is images
    with pytest.raises(BadInput, match="9 images of 5 classes are too few"):
        thinned(images, 9, "key")


# --------------------------------------------------------------------------------------------------- against the grid

CUTS = (1, 3, 5)
SCORES = {"knn": (1.0, 2.0, 3.0), "logme": (3.0, 1.0, 2.0), "ridge": (1.0, 1.0, 1.0)}


def grid(runs: Path, splits: int = 1) -> list[Run]:
    """Bases and transfer copies, frozen and fine-tuned, at three cuts; the bases of targets A and B are returned."""
    found = []
    for k in range(splits):
        a, b = (synthetic.base(half) for half in synthetic.halves(f"random:{k}"))
        for source, target in ((a, b), (b, a)):
            synthetic.finish(runs, source, 0.7, [0.7])
            for n, frozen in zip(CUTS, (0.6, 0.5, 0.3 - 0.01 * k), strict=True):
                synthetic.finish(runs, synthetic.copy(source, target.half, n), frozen, [0.1])
                synthetic.finish(runs, synthetic.copy(source, target.half, n, plus=True), 0.8, [0.1])
        found += [a, b]
    return found


def write(runs: Path, base: Run, target: Run, images: int = 100, scores: Any = SCORES, **values: Any) -> Path:
    """A prediction as `yosinski predict` leaves it."""
    cuts = [
        {"n": n, "name": f"cut{n}", "scores": {name: one[k] for name, one in scores.items()}}
        for k, n in enumerate(CUTS)
    ]
    prediction = {
        "version": 1,
        "base": base.id,
        "weights": f"w-{base.id}",
        "half": target.half.digest,
        "images": {"train": {"used": images, "of": 1000}},
        "cuts": cuts,
        **values,
    }
    path = runs / "predictions" / f"{base.id}-{images}.json"
    files.write_json(path, prediction)
    return path


def cheap(runs: Path) -> Section:
    made = advise(frame(runs), directory=runs)
    (section,) = [one for one in made.parts[0].sections if one.title == "Cheap predictors"]
    return section


def test_tau_and_regret_by_hand(tmp_path: Path) -> None:
    a, b = grid(tmp_path)
    write(tmp_path, a, b)
    table = cheap(tmp_path).tables[0]
    rows = table.rows.set_index(["series", "predictor"])
    assert rows.loc[("AnB", "knn"), "tau"] == pytest.approx(-1)
    assert rows.loc[("AnB", "knn"), "regret"] == pytest.approx(0.3)
    assert rows.loc[("AnB", "last cut"), "regret"] == pytest.approx(0.3)
    assert rows.loc[("AnB", "logme"), "tau"] == pytest.approx(1 / 3)  # of three pairs of cuts two are in order
    assert rows.loc[("AnB", "logme"), "regret"] == 0
    assert rows.loc[("AnB", "first cut"), "tau"] == pytest.approx(1)
    assert rows.loc[("AnB", "knn"), "at_random"] == pytest.approx(0.6 - 1.4 / 3)
    assert pd.isna(rows.loc[("AnB", "ridge"), "tau"])  # says nothing; the first cut is as good as any
    assert rows.loc[("AnB", "ridge"), "regret"] == 0
    assert pd.isna(rows.loc[("AnB+", "knn"), "tau"])  # all cuts are equally good
    assert rows.loc[("AnB+", "knn"), "regret"] == 0
    assert table.pairs is not None
    assert table.pairs.groupby("series")["chosen"].unique()["AnB"].tolist() == [5, 1]


def test_the_advice_has_it_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = grid(tmp_path / "runs")
    for source, target in ((a, b), (b, a)):
        write(tmp_path / "runs", source, target)
    outs = [tmp_path / f"out.{kind}" for kind in ("md", "html", "json")]
    assert main(["advise", "--runs", str(tmp_path / "runs"), *(f"--out={path}" for path in outs)]) == 0
    for text in (capsys.readouterr().out, *(path.read_text() for path in outs)):
        assert "Cheap predictors" in text
        assert "One split: no spread" in text
        assert "it takes 3 splits to tell predictors apart from" in text
        assert "first cut" in text
    sections = {one["title"]: one for one in json.loads(outs[2].read_text())["parts"][0]["sections"]}
    table = sections["Cheap predictors"]["tables"][0]
    knn = next(row for row in table["rows"] if (row["series"], row["predictor"]) == ("AnB", "knn"))
    assert (knn["pairs"], knn["replicates"], knn["tau_sd"]) == (2, 1, None)
    assert len(table["pairs"]) == 2 * 2 * 5


def test_spread_is_over_splits_and_a_rule_is_the_measure(tmp_path: Path) -> None:
    """Pairs of a split are averaged first; a predictor is called better than a rule only if all splits say so."""
    bases = grid(tmp_path, splits=3)
    for k, (a, b) in enumerate(zip(bases[::2], bases[1::2], strict=True)):
        write(tmp_path, a, b)
        write(tmp_path, b, a, scores={**SCORES, "knn": (1, 3, 2) if k else (1, 2, 3)})
    section = cheap(tmp_path)
    row = section.tables[0].rows.set_index(["series", "predictor"]).loc[("AnB", "knn")]
    per_split = [0.3, (0.31 + 0.1) / 2, (0.32 + 0.1) / 2]
    assert row["regret"] == pytest.approx(np.mean(per_split))
    assert row["regret_sd"] == pytest.approx(np.std(per_split, ddof=1))
    assert (row["pairs"], row["replicates"]) == (6, 3)
    output = next(sentence for sentence in section.text if sentence.startswith("AnB:"))
    assert "always the first cut 0.0; told apart from that as costing less (p < 0.05 after Holm" in output
    assert output.endswith("over predictors): none.")
    assert "regret in points ± s.d." in section.tables[0].shown
    assert "s.d.: the standard deviation over splits." in section.text
    assert not any("no spread" in sentence for sentence in section.text)


def test_predictors_are_adjusted_for_how_many_were_tried() -> None:
    """One that is told apart alone (p = 0.03) is not among three (0.09); one with p = 0.003 is, still."""
    rules = {"first cut": [0.2] * 4, "last cut": [0.3] * 4}
    luck = np.array([-1.0, 0.0, 0.0, 1.0])
    good = {"knn": 0.2 + 0.01 * (luck - 1.6), "logme": 0.2 + 0.01 * (luck - 3.8)}

    def told(*names: str) -> str:
        regrets = {**rules, **{name: good.get(name, 0.2 + 0.01 * luck) for name in names}}
        cells = [(str(k), name, r) for name, row in regrets.items() for k, r in enumerate(row)]
        judged = pd.DataFrame(cells, columns=["replicate", "predictor", "regret"]).assign(at_random=0.5)
        return against_rules("AnB", judged, "split").rpartition(": ")[2]

    p = [ttest_1samp(good[name] - 0.2, 0).pvalue for name in good]  # pyright: ignore[reportAttributeAccessIssue]
    assert 0.05 / 3 < p[0] < 0.05
    assert p[1] < 0.05 / 3
    assert told("knn") == "knn."
    assert told("knn", "ridge", "hscore") == "none."
    assert told("knn", "ridge", "logme") == "logme."


def test_one_cut_is_nothing_to_choose_among(tmp_path: Path) -> None:
    a, b = grid(tmp_path)
    write(tmp_path, a, b)
    one = frame(tmp_path, where={"n": "3"})
    judged = quality(
        one.assign(value=one["test_top1"], counts=True, replicate=one["split"]), predictions(tmp_path, [a.id])[0]
    )
    assert judged.empty


def test_what_does_not_count_is_said(tmp_path: Path) -> None:
    a, b = grid(tmp_path)
    assert "Nothing was predicted" in cheap(tmp_path).text[0]
    assert "yosinski predict --base" in cheap(tmp_path).text[0]
    write(tmp_path, a, b, images=100)
    write(tmp_path, a, b, images=900, scores={"knn": (3.0, 2.0, 1.0)})
    synthetic.damage(write(tmp_path, a, b, images=950))
    write(tmp_path, b, a, weights="of another training")
    section = cheap(tmp_path)
    rows = section.tables[0].rows.set_index(["series", "predictor"])
    assert rows.loc[("AnB", "knn"), "tau"] == pytest.approx(1)  # from the most images
    assert rows.loc[("AnB", "logme"), "tau"] == pytest.approx(1 / 3)  # the only one there is
    output = " ".join(section.text)
    assert f"1 prediction made from weights that their base no longer has ({b.id[:8]})" in output
    assert f"1 damaged file ({a.id}-950.json)" in output
    assert "the scores from the most images count" in output
    assert "1 of 2 bases are not in this" in output
    assert "Cheap predictors" in render.markdown(advise(frame(tmp_path), directory=tmp_path))
