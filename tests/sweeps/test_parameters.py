"""The parameters of a sweep: texts become arguments by their annotations, and are described."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

import sweeps
from sweeps.transfer import transfer
from yosinski.errors import BadInput
from yosinski.experiment.recipes import EMOJI, FINETUNE, SKETCH, Recipe
from yosinski.experiment.run import Run


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


def test_other_ways_to_write_an_annotation_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(
        "from typing import Optional\n\ndef mine(count: Optional[int] = None, cuts: list[int] = []):\n    return []\n"
    )
    sweep = sweeps.find(str(file))
    assert sweeps.arguments(sweep, ["count=3"]) == {"count": 3}
    assert list(sweeps.arguments(sweep, ["cuts=1,2"])["cuts"]) == [1, 2]
