"""Texts in training: what a run sees, and that neither packs nor interruptions nor stored features change it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ended import after, numbers
from packs import train, with_views

from sweeps.fuse import fuse
from yosinski.data import find, halves
from yosinski.data import store as stores
from yosinski.data.half import Half
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment import cost
from yosinski.experiment.recipes import EMOJI, WORDS
from yosinski.experiment.run import Run
from yosinski.networks import build, parts
from yosinski.networks.batch import Batch
from yosinski.networks.tokens import Tokens, around
from yosinski.records import specs, states
from yosinski.training.partners.batches import pairs
from yosinski.training.stream import Stream

DATA = "words:en,unseen"
RECIPE = WORDS.with_values({"epochs": 3.0, "batch_size": 50, "evaluations": 2})


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Where:
    path = tmp_path_factory.mktemp("texts")
    return Where(path / "runs", path / "stores", precision="float32")


@pytest.fixture(scope="module")
def store(where: Where) -> Store:
    return stores.load(find.card(DATA), where.stores)


@pytest.fixture(scope="module")
def tasks(store: Store) -> tuple[Half, Half]:
    split = halves.split(store.card, "random:0")
    return tuple(replace(half, classes=half.classes[:6]) for half in (split.a, split.b))  # pyright: ignore


@pytest.fixture(scope="module")
def bases(where: Where, tasks: tuple[Half, Half]) -> tuple[Run, Run]:
    """Bases A and B, trained."""
    a, b = (Run("textnet", half, RECIPE) for half in tasks)
    train(where, [a])
    train(where, [b])
    return a, b


def test_words_are_learned(where: Where, bases: tuple[Run, Run]) -> None:
    curve = states.read_curve(specs.folder(where.runs, bases[0].id))
    assert float(curve[-1]["train_loss"]) < 0.5 * np.log(6)


def test_every_step_shows_keywords_of_the_labels_drawn_by_epoch(store: Store, tasks: tuple[Half, Half]) -> None:
    stream = Stream(store, Run("textnet", tasks[0], RECIPE))
    assert store.texts is not None
    for step in (0, 9):
        shown = stream.shown(step)
        rows = stream.rows[shown.images]
        first, count = store.texts.first[rows], store.texts.count[rows]
        assert ((first <= shown.drawn.texts) & (shown.drawn.texts < first + count)).all()
    again, other = stream.drawn(0, np.arange(stream.total)), stream.drawn(1, np.arange(stream.total))
    assert (again.drawn.texts != other.drawn.texts).any()
    assert (again.drawn.texts == Stream(store, stream.run).drawn(0, np.arange(stream.total)).drawn.texts).all()


def test_without_augmentation_every_epoch_shows_the_same(store: Store, tasks: tuple[Half, Half]) -> None:
    stream = Stream(store, Run("textnet", tasks[0], RECIPE.with_values({"augment": False})))
    one, other = (stream.drawn(epoch, np.arange(stream.total)).drawn.texts for epoch in (0, 1))
    assert (one == other).all()


def test_texts_are_cut_at_the_length_of_the_recipe(store: Store, tasks: tuple[Half, Half]) -> None:
    run = Run("textnet", tasks[0], RECIPE.with_values({"length": 4}))
    batch, whole = (Stream(store, one).batch(0)[0] for one in (run, replace(run, recipe=RECIPE)))
    assert (batch.lengths == whole.lengths.clamp(max=4)).all()
    assert torch.equal(batch.ids, torch.where(batch.mask, whole.ids[:, :4], 0))


def test_alone_in_a_pack_and_interrupted_a_copy_gives_the_same_numbers(
    where: Where, bases: tuple[Run, Run], tmp_path: Path
) -> None:
    base, target = bases
    pack = [target.copy(2, "frozen", base), target.copy(4, "frozen", base), target.copy(2, "tuned", base)]
    train(where, pack)
    together = [numbers(where, run) for run in pack]
    alone = replace(where, runs=tmp_path)
    train(alone, [base])
    train(alone, pack[1:2], after(9))
    train(alone, pack[1:2])
    train(alone, pack[2:])
    assert [numbers(alone, run) for run in pack[1:]] == together[1:]


def test_a_frozen_prefix_keeps_its_bytes(where: Where, bases: tuple[Run, Run]) -> None:
    from safetensors.torch import load_file

    base, target = bases
    copy = target.copy(2, "frozen", base)
    train(where, [copy])
    of_base, of_copy = (load_file(specs.folder(where.runs, run.id) / "weights.safetensors") for run in (base, copy))
    below = {name for name in of_base if name.split(".")[0] in ("embed", "block1")}
    assert all(torch.equal(of_base[name], of_copy[name]) for name in below)
    assert not any(torch.equal(of_base[name], of_copy[name]) for name in of_base.keys() - below if "weight" in name)


def test_stored_features_give_the_same_training(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same views, computed in every step."""
    base, target = bases
    (copy,) = with_views([target.copy(3, "frozen", base)], 2)
    train(where, [copy])
    stored = numbers(where, copy)
    computed = replace(where, runs=where.runs.parent / "computed")
    train(computed, [base])
    monkeypatch.setattr("yosinski.training.loop.take_features", lambda *_: None)
    train(computed, [copy])
    found = numbers(computed, copy)
    assert found["certificate"] == stored["certificate"]
    for one, other in zip(found["curve"], stored["curve"], strict=True):
        assert float(one["select_loss"]) == pytest.approx(float(other["select_loss"]), abs=1e-3)


def test_what_a_network_cannot_read_is_refused(tasks: tuple[Half, Half]) -> None:
    pictures = halves.split(find.card("emoji"), "random:0").a
    with pytest.raises(BadInput, match="alexnet32 reads pictures, but words:en,unseen has texts"):
        Run("alexnet32", tasks[0], EMOJI)
    with pytest.raises(BadInput, match="textnet reads texts, but emoji has pictures"):
        Run("textnet", pictures, WORDS)
    with pytest.raises(BadInput, match=r"recipe\.shift 2 is for pictures, and words:en,unseen has texts"):
        Run("textnet", tasks[0], EMOJI)
    with pytest.raises(BadInput, match=r"recipe\.mean image is for pictures"):
        Run("textnet", tasks[0], WORDS.with_values({"mean": "image"}))
    with pytest.raises(BadInput, match=r"recipe\.length 9 is for texts, and emoji has pictures"):
        Run("alexnet32", pictures, EMOJI.with_values({"length": 9}))
    with pytest.raises(BadInput, match=r"recipe\.length 1000: textnet takes \d+ at most"):
        Run("textnet", tasks[0], WORDS.with_values({"length": 1000}))
    more = replace(find.card(DATA), vocabulary=30522)
    with pytest.raises(BadInput, match=r"textnet knows 257 ids of tokens, .* has 30522: choose textnet@30522"):
        Run("textnet", tasks[0], WORDS).check_fits(more)


def fused(cut: int, **recipe: object) -> Run:
    """Pictures of five classes that words join."""
    values = {"epochs": 2.0, **recipe}
    runs = fuse(x="twemoji", y="words:en", cuts=(cut,), controls=(), recipe=EMOJI.with_values(values))
    x, y = (replace(half, classes=half.classes[:5]) for half in runs[-1].halves)
    return replace(runs[-1], half=x, partners=(y,))


def test_a_sweep_names_two_data_sets() -> None:
    picture, word, joined = fuse(x="emoji", y="words:en", cuts=(3,), controls=())
    assert (picture.network, word.network, joined.towers) == ("alexnet32", "textnet", ("textnet",))
    assert [half.data for half in joined.halves] == ["emoji", "words:en"]
    assert picture.half.classes == word.half.classes
    assert (joined.name, word.recipe.shift, joined.recipe.shift) == ("xy3A", 0, 2)
    assert joined.id != replace(joined, towers=("textnet@300",)).id
    with pytest.raises(BadInput, match="or data set 'nothing'; choose from: noto"):
        fuse(y="nothing")
    with pytest.raises(BadInput, match="words:de,unseen lacks classes of emoji: "):
        fuse(data="emoji", y="words:de,unseen", splits=("random:1",), halves=("B",))


@pytest.mark.parametrize("join", ["concat", "multiplicative"])
def test_a_fused_run_is_loaded_as_it_was_and_costs_what_its_network_has(
    join: str, where: Where, stores_of_emoji: Path
) -> None:
    for cut in (0, 3, 6, 7) if join == "concat" else (7,):
        run = fused(cut, join=join)
        specs.enrol(where.runs, run)
        assert specs.load(where.runs, run.id) == run
        both = [build.drawn(name, run.outputs, 1, "kaiming", 0, "test") for name in run.networks]
        network = parts.with_towers(both, cut, join, 0.5, "kaiming", 0)
        assert sum(p.numel() for p in network.parameters()) == sum(row.parameters for row in cost.rows_of(run))


@pytest.fixture(scope="module")
def stores_of_emoji(where: Where, stores: Path) -> Path:
    """The stores directory of these tests, with that of emoji in it."""
    (found,) = stores.glob("emoji-*")
    where.stores.mkdir(exist_ok=True)
    if not (where.stores / found.name).exists():
        (where.stores / found.name).symlink_to(found)
    return where.stores


def test_a_vector_joins_as_maps_of_it_would() -> None:
    """Away from borders: a convolution of the picture beside maps that are the vector everywhere."""
    both = [build.drawn(name, 5, 1, "kaiming", 0, "test").eval() for name in ("alexnet32", "textnet")]
    joined = parts.with_towers(both, 2, "concat", 0.5, "kaiming", 0)[2]
    assert isinstance(joined, parts.Joined)
    layer, vector = joined.layer, joined.vectors[0]
    assert isinstance(layer, torch.nn.Conv2d)
    texts = Tokens(torch.tensor([[5, 6]]), torch.tensor([2]))
    maps = torch.randn(1, 32, 4, 4)
    with torch.no_grad():
        word = joined.towers[0](texts)
        wide = torch.nn.Conv2d(32 + word.shape[1], layer.out_channels, 3, padding=1)
        spread = (vector.weight / 9)[:, :, None, None].expand(-1, -1, 3, 3)  # pyright: ignore
        wide.weight.copy_(torch.cat([layer.weight, spread], 1))
        wide.bias.copy_(layer.bias)  # pyright: ignore
        everywhere = torch.cat([maps, word[:, :, None, None].expand(-1, -1, 4, 4)], 1)
        assert torch.allclose(
            joined([maps, texts])[..., 1:-1, 1:-1], wide(everywhere).relu()[..., 1:-1, 1:-1], atol=1e-5
        )


def test_words_and_pictures_are_paired_by_class_and_trained_together(where: Where, stores_of_emoji: Path) -> None:
    run, joined = fused(3, batch_size=25), fused(7, batch_size=25, join="logits")
    last = replace(run, cut=7)
    train(where, [run, last])
    train(where, [joined])
    assert all(states.read_record(specs.folder(where.runs, other.id)) for other in (last, joined))
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    assert record["state"] in ("done", "stuck")
    assert len(record["fusion"]["exchanged"]) == 2
    first, other = (stores.of(half, stores_of_emoji) for half in run.halves)
    found = pairs(first, run.half, other, run.partners[0], "train")
    labels, theirs = (of.rows(half, "train")[1] for of, half in zip((first, other), run.halves, strict=True))
    assert (theirs[found] == labels).all()
    assert len(set(found.tolist())) == len(found)


def test_tasks_of_two_languages_share_segments(where: Where, tasks: tuple[Half, Half]) -> None:
    """Each with its own mask: a task that shares nothing is the base on its half."""
    a, b = tasks
    run = Run("textnet", a, RECIPE, treatment="joint", cut=0, partners=(b,))
    shared = replace(run, cut=3)
    train(where, [run, shared])
    base = Run("textnet", a, RECIPE)
    train(where, [base])
    assert numbers(where, run)["metrics"]["select_loss"] == numbers(where, base)["metrics"]["select_loss"]
    assert numbers(where, shared)["metrics"]["select_loss"] != numbers(where, base)["metrics"]["select_loss"]


def test_words_join_pictures_and_not_the_other_way_round() -> None:
    with pytest.raises(BadInput, match="input x, words:en, has texts and y has pictures: let x be the pictures"):
        fuse(x="words:en", y="emoji", network="textnet")


def test_pictures_have_no_mask() -> None:
    with around(Batch.whole(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))), pytest.raises(LookupError):
        build.build("textnet", 2)[1](torch.zeros(1, 2, 64))
