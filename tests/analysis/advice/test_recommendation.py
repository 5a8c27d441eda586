"""The sentences of a recommendation, from answers made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.advice.answer import Answer
from analysis.advice.blocks import Block
from analysis.advice.recommendation import down, sentences, shown

CUTS = {1: "conv1", 2: "conv2", 3: "conv3", 4: "conv4", 5: "conv5"}


def block(published: bool = False) -> Block:
    """One that has no runs to speak of."""
    runs = pd.DataFrame({"origin": ["paper" if published else "records"]})
    made = Block("", "select_top1", runs, runs)
    made.replicates, made.number = "split", 4  # as it would find them itself
    return made


def choice(name: str, points: float, within: float = 0.0, **values: Any) -> dict[str, Any]:
    """A row of an answer, of four splits with both targets: "A3B+", "A3B" or "base"."""
    n = 0 if name == "base" else int(name[1])
    series = "base" if not n else "AnB+" if name.endswith("+") else "AnB"
    row = {
        **{"choice": name, "n": n, "cut": CUTS.get(n), "series": series, "points": points, "within": within},
        **{"treatment": {"base": "base", "AnB": "frozen", "AnB+": "tuned"}[series]},
        **{"splits": 4, "targets": 8, "runs": 8, "failed": 0, "fragile": False, "among": within > 0},
        **{"low": points - 0.5, "high": points + 0.5, "behind": 0.1, "p_best": within},
        **{"flops": 100.0 if series != "AnB" else 40.0, "trained_parameters": 10.0},
    }
    return {**row, **values}


def answered(*rows: dict[str, Any], top: str, **values: Any) -> Answer:
    given: dict[str, Any] = {
        **{"reference": "base", "top": top, "by": "flops", "limit": 0.4, "treatments": {"AnB+": 0.97, "AnB": 0.03}},
        **{"test": pd.DataFrame({"test_top1": [0.8], "points": [1.5], "low": [0.5], "high": [2.5]})},
    }
    return Answer(pd.DataFrame(list(rows)), **{**given, **values})


CLEAR = (choice("A3B+", 2.0, 0.999, behind=0.02), choice("A4B+", 1.9, 0.97), choice("base", 0.0), choice("A3B", -3.0))


def test_a_clear_answer() -> None:
    assert sentences(block(), answered(*CLEAR, top="A3B+", cheapest="A3B+")) == [
        "Fine-tune everything (P = 0.97). Cut anywhere from n = 3 to 4: A3B+ is highest, and within a point of the best"
        " with P > 0.99 (expected regret 0.02).",
        "Nothing more needs training, unless differences of 0.4 points or less matter.",
        "On test images, which had no part in the choice, A3B+ reaches 0.8000, +1.50 [+0.50, +2.50] points from the"
        " base.",
    ]


@pytest.mark.parametrize(
    ("good", "where"),
    [({3}, "at n = 3 (conv3)"), ({2, 3, 4}, "anywhere from n = 2 to 4"), ({1, 3}, "at n = 1 or 3"),
     ({1, 3, 4}, "at n = 1, 3 or 4")],
)  # fmt: skip
def test_cuts_that_are_as_good(good: set[int], where: str) -> None:
    """Cuts with a worse one between them are named one by one."""
    order = [3, *(n for n in (1, 2, 4, 5) if n in good), *(n for n in (1, 2, 4, 5) if n not in good)]
    rows = [choice(f"A{n}B+", 3 - 0.1 * k, 0.97 if n in good else 0.2) for k, n in enumerate(order)]
    assert f"Cut {where}: A3B+ is highest" in sentences(block(), answered(*rows, top="A3B+"))[0]


def test_an_open_answer_says_how_sure_the_leading_choice_is() -> None:
    """Probabilities are rounded down: 0.949 is not what would be enough."""
    rows = choice("A3B+", 2.0, 0.949, behind=0.31), choice("base", 0.0)
    said = sentences(block(), answered(*rows, top="A3B+", matters=2.0, luck=0.2))
    assert said[0] == (
        "Fine-tune everything (P = 0.97). Where to cut is open: no choice is within 2 points of the best with P of at"
        " least 0.95."
    )
    assert said[1] == (
        "A3B+ (cut at n = 3, conv3; fine-tune everything) is highest, and within 2 points of the best with P = 0.94"
        " (expected regret 0.31)."
    )
    assert not any("Nothing more needs training" in sentence for sentence in said)
    assert said[2].endswith("About 0.20 points of that are luck of its trainings, by which it was chosen.")


def test_the_base_may_be_the_best() -> None:
    rows = choice("base", 0.0, 0.99, behind=0.01), choice("A3B+", -2.0)
    test = pd.DataFrame({"test_top1": [0.7]})
    said = sentences(block(), answered(*rows, top="base", treatments={"base": 1.0}, test=test))
    assert said[0] == (
        "Train from scratch (P > 0.99). It is within a point of the best with P = 0.99 (expected regret 0.01)."
    )
    assert said[2] == "On test images, which had no part in the choice, base reaches 0.7000."


def test_a_cheaper_choice_is_named_with_what_it_saves() -> None:
    rows = choice("A3B+", 2.0, 0.99), choice("A2B", 1.8, 0.96, behind=0.3), choice("base", 0.0)
    said = sentences(block(), answered(*rows, top="A3B+", cheapest="A2B"))
    assert said[2] == (
        "Cheapest of those within a point: A2B (cut at n = 2, conv2; freeze what is below), with 60 % fewer training"
        " FLOPs (P = 0.96, expected regret 0.30)."
    )
    assert said[0].startswith("Fine-tune everything (P = 0.97). Cut at n = 3 (conv3)")  # of its own treatment


def test_one_set_of_images_leaves_luck() -> None:
    for published, start in (
        (True, "The published networks have one set of images"),
        (False, "Chosen on select images"),
    ):
        said = sentences(block(published), answered(*CLEAR, top="A3B+", test=pd.DataFrame(), luck=0.25))
        assert said[2] == (
            f"{start}: scores of the best are the best of many on the same images, by about 0.25 points."
        )


def test_failures_and_fragile_choices_are_named() -> None:
    rows = (
        choice("A3B+", 2.0, 0.99),
        choice("A1B", 1.0, runs=9, failed=1),
        choice("A4B", -1.0, runs=6, failed=2, fragile=True),
    )
    said = sentences(block(), answered(*rows, top="A3B+", failed={"A5B": 8}))
    assert said[3:] == [
        "Got stuck or diverged: A1B 1 of 10, A4B 2 of 8, A5B 8 of 8.",
        "Not recommended, since more than a fifth failed or fewer than 3 replicates are left: A4B.",
    ]


def test_choices_on_few_splits_are_named() -> None:
    rows = choice("A3B+", 2.0, 0.99, splits=2), choice("A4B+", 1.0, splits=1), choice("base", 0.0, splits=2)
    said = sentences(block(), answered(*rows, top="A3B+"))
    assert said[-1] == "On fewer than 3 splits, with errors borrowed from the others (open markers): A3B+, A4B+."


def test_one_split_has_differences_without_errors() -> None:
    rows = pd.DataFrame(
        [
            choice("A3B+", 2.0),
            choice("A2B+", 1.8),
            choice("A1B", 1.2),
            *(choice("base", 0.0), choice("A5B+", -1.0), choice("A2B", -4.0), choice("A3B", -6.5)),
        ]
    ).assign(**dict.fromkeys(("within", "behind", "low", "high", "p_best"), np.nan))
    its = Answer(rows, why_not="1 split, and at least 3 are needed", reference="base")
    assert sentences(block(), its) == [
        "No recommendation for other halves: 1 split, and at least 3 are needed.",
        "On these alone, A3B+ (cut at n = 3, conv3; fine-tune everything) is highest (+2.00 points from the base).",
        "Within a point of it: fine-tuned n = 2, 3, frozen n = 1.",
        "Behind by 6.0 points or more: frozen n = 2, 3.",
        "These are differences without errors: what one training gains by luck is in them.",
    ]
    assert list(shown(block(), its)) == ["choice", "cut", "points from base", "splits", "targets", "runs"]
    alone = replace(its, rows=rows.iloc[[3]].assign(points=np.nan))
    assert sentences(block(), alone) == ["No recommendation for other halves: 1 split, and at least 3 are needed."]


def test_several_that_are_equally_high_are_not_called_highest() -> None:
    """To the two digits that are shown; what failed too often is not among them."""
    rows = [
        *(choice("A3B+", 2.0, 0.99), choice("A4B+", 1.998, 0.99), choice("A5B+", 1.997, 0.99)),
        *(choice("A2B+", 2.001, fragile=True), choice("base", 0.0)),
    ]
    said = sentences(block(), answered(*rows, top="A3B+"))[0]
    assert "A3B+, A4B+ and A5B+ are equally high, and A3B+ is within a point of the best with P" in said
    open_ones = [{**row, "within": 0.5} for row in rows]
    assert (
        "A3B+ (cut at n = 3, conv3; fine-tune everything), A4B+ and A5B+ are equally high, and A3B+ is within"
        in (sentences(block(), answered(*open_ones, top="A3B+"))[1])
    )
    alone = Answer(pd.DataFrame([rows[0], rows[1], rows[-1]]), why_not="1 split", reference="base")
    assert sentences(block(), alone)[1] == (
        "On these alone, A3B+ (cut at n = 3, conv3; fine-tune everything) and A4B+ are equally high (+2.00 points from"
        " the base)."
    )


def test_the_table_has_no_empty_columns() -> None:
    its = answered(*CLEAR, top="A3B+")
    assert "failed" not in shown(block(), its)
    assert shown(block(), its)["P(within 1)"].tolist() == ["0.99", "0.97", "0.00", "0.00"]
    without_cuts = replace(its, rows=its.rows.assign(cut=pd.NA, among=False))
    assert not {"cut", "may be best"} & set(shown(block(), without_cuts))
    assert "failed" in shown(block(), replace(its, rows=its.rows.assign(failed=[1, 0, 0, 0])))


@pytest.mark.parametrize(("p", "text"), [(0.9499, "0.94"), (0.95, "0.95"), (0.29, "0.29"), (1.0, "1.00"), (np.nan, "")])
def test_probabilities_are_rounded_down(p: float, text: str) -> None:
    assert down(p) == text
