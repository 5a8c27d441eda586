"""The report on where to cut, from records and in every form."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from grids import fill

from analysis import frame
from analysis.advice import render
from analysis.advice.blocks import blocks, caveats
from analysis.advice.classes import shrink
from analysis.advice.document import Report
from analysis.advice.figures import pareto
from analysis.advice.report import advise
from analysis.paper import networks
from yosinski.cli.main import main
from yosinski.experiment.run import Run


@pytest.fixture(scope="module")
def of_paper() -> Report:
    """The report on the published networks."""
    return advise(networks())


def section(made: dict[str, Any], part: int, title: str) -> dict[str, Any]:
    """One section of a report's JSON."""
    return next(its for its in made["parts"][part]["sections"] if its["title"] == title)


def said(report: Report, title: str, part: int = 0) -> str:
    return " ".join(next(its for its in report.parts[part].sections if its.title == title).text)


def tables(report: Report) -> list[Any]:
    return [table for part in report.parts for its in part.sections for table in its.tables]


def test_report_on_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "runs")
    outs = [tmp_path / f"out.{kind}" for kind in ("md", "json", "html")]
    given = [word for path in outs for word in ("--out", str(path))]
    assert main(["advise", "--runs", str(tmp_path / "runs"), *given]) == 0
    told = capsys.readouterr().out
    assert "Fine-tune everything (P > 0.99). Cut at n = 3 (conv3): A3B+ is highest" in told
    assert "How to read this: A3B+: the first 3 layers from A's network, trained on B" in told
    assert "which had no part in the choice, A3B+ reaches 0.8" in told
    made = json.loads(outs[1].read_text())
    rows = {row["choice"]: row for row in section(made, 0, "Recommendation")["tables"][0]["rows"]}
    assert rows["A3B+"]["within"] > 0.95
    assert rows["A3B+"]["p_best"] > 0.95
    assert not rows["A7B"]["among"]
    assert rows["A7B"]["points"] == pytest.approx(-14, abs=0.5)
    page = outs[2].read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_markdown_has_its_figures_beside_it(tmp_path: Path) -> None:
    """Every link is a file, and every file is linked."""
    fill(tmp_path / "runs", volumes=(None, 5))
    report = advise(frame(tmp_path / "runs"), directory=tmp_path / "runs")
    assert render.write(report, tmp_path / "pages" / "my report.md")
    text = (tmp_path / "pages" / "my report.md").read_text()
    linked = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert "my%20report-volume-alexnet32.svg" in linked
    assert "my%20report-choices-2.svg" in linked
    files = {path.name.replace(" ", "%20") for path in (tmp_path / "pages").glob("*.svg")}
    assert files == set(linked)
    assert len(linked) == len(set(linked))
    assert all(path.read_text().startswith("<?xml") for path in (tmp_path / "pages").glob("*.svg"))
    assert "| A3B+ |" in text


def test_no_table_has_an_empty_column(of_paper: Report, tmp_path: Path) -> None:
    made = fill(tmp_path, left_out=lambda run: run.half.split == "random:3" and bool(run.parent))
    synthetic.manifest(tmp_path, "mine", made)
    for report in (of_paper, advise(frame(tmp_path), directory=tmp_path)):
        for table in tables(report):
            assert (table.shown.astype(str) != "").any().all(), table.title


def test_what_no_target_has_is_not_listed(of_paper: Report) -> None:
    assert "not identifiable" not in render.markdown(of_paper).lower()
    assert "G = " not in said(of_paper, "What a cut costs, and why")


def test_records_without_classes_are_not_called_published(of_paper: Report, tmp_path: Path) -> None:
    a, b = (synthetic.base(half) for half in synthetic.halves())
    for run in (a, b, synthetic.copy(a, b.half, 3)):
        synthetic.finish(tmp_path, run, 0.5, [0.5])
    whole = advise(frame(tmp_path), directory=tmp_path)
    assert "2 runs have no numbers per class" in said(whole, "Classes")
    for report in (whole, advise(frame(tmp_path))):  # without their directory, too
        assert "published" not in render.markdown(report)
    assert "The published logs have no numbers per class." in said(of_paper, "Classes")


def test_whether_intervals_cover_other_images_is_said(of_paper: Report, tmp_path: Path) -> None:
    for bits in (True, False):
        fill(tmp_path / str(bits), splits=1, seeds=(0, 1, 2), bits=bits)
    with_bits, without = (advise(frame(tmp_path / str(b)), directory=tmp_path / str(b)) for b in (True, False))
    assert "Intervals cover other select images, too" in said(with_bits, "What this rests on")
    rests = said(without, "What this rests on")
    assert "Intervals do not cover other images, since not all records say which ones were right" in rests
    assert f"has a standard error of {100 * math.sqrt(0.76 * 0.24 / 60):.1f}" in rests
    assert "nothing says which ones each network had right" in said(of_paper, "What this rests on")


def test_an_unfinished_sweep_is_advised(tmp_path: Path) -> None:
    """Bases are missing, copies are not there yet: what compares, compares."""

    def lost(run: Run) -> bool:
        of_b = run.half.letter == "B"
        return (not run.parent and of_b) or (run.half.split == "random:3" and run.treatment == "tuned")

    made = fill(tmp_path, left_out=lost)
    synthetic.manifest(tmp_path, "mine", made)
    report = advise(frame(tmp_path), directory=tmp_path)
    assert "Cut at n = 3 (conv3): A3B+ is highest" in said(report, "Recommendation")
    assert "Left out for now: 4 AnB+, 4 BnB+, 4 base (not trained yet, or without a log)." in said(
        report, "What this rests on"
    )


def test_without_any_base_choices_are_compared_with_their_mean(tmp_path: Path) -> None:
    fill(tmp_path, left_out=lambda run: not run.parent)
    report = advise(frame(tmp_path), directory=tmp_path)
    shown = tables(report)[0].shown
    assert "points from the mean" in shown
    assert shown["choice"].tolist() == ["A3B+", "A7B+", "A3B", "A7B"]
    assert "points from the base" not in said(report, "Recommendation")
    assert "No base counts" in said(report, "What this rests on")


def test_volumes_are_blocks_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, volumes=(None, 5, 20))
    made = json.loads(advise(frame(tmp_path), directory=tmp_path).as_json())
    assert [part["title"].rpartition(", ")[2] for part in made["parts"][:3]] != ["", "", ""]
    across = section(made, 3, "By images per class")
    assert "5 images per class: A3B, freeze what is below." in across["text"]
    assert "All images per class: A3B+, fine-tune everything." in across["text"]
    of_few = next(block for block in blocks(frame(tmp_path)) if block.examples == 5)
    assert "no co-adaptation" in " ".join(caveats(of_few))


def test_figures_have_nothing_outside_or_over_each_other(of_paper: Report, tmp_path: Path) -> None:
    """Names at the edge of what costs; markers are open where there are few splits."""
    fill(tmp_path, cuts=(1, 2, 3, 5, 7))
    for report in (of_paper, advise(frame(tmp_path), directory=tmp_path)):
        figures = {name: draw() for its in report.parts[0].sections for name, draw in its.figures.items()}
        figure = figures["cost"]
        figure.canvas.draw()  # pyright: ignore[reportAttributeAccessIssue]
        for axes in figure.axes:
            boxes = [text.get_window_extent() for text in axes.texts]
            inside = axes.get_window_extent()
            assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
            assert not any(box.overlaps(other) for k, box in enumerate(boxes) for other in boxes[:k])
    choices = of_paper.parts[0].sections[0].figures["choices"]()
    marks = {line.get_markerfacecolor() for line in choices.axes[0].lines}
    assert "white" in marks


def test_bases_alone_have_no_cut(tmp_path: Path) -> None:
    synthetic.finish(tmp_path / "runs", synthetic.base(synthetic.halves()[0]), 0.5, [0.5])
    assert main(["advise", "--runs", str(tmp_path / "runs")]) == 2
    assert main(["advise", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "a.pdf")]) == 2


@pytest.mark.parametrize("matters", ["0", "-0.5", "nan", "much"])
def test_what_matters_is_a_positive_number(matters: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["advise", "--paper", f"--matters={matters}"])
    except SystemExit as stop:  # as argparse ends
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "matter" in error
    assert matters in error


def test_what_matters_changes_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--paper", "--matters", "0.5"]) == 0
    told = capsys.readouterr().out
    assert "within 0.5 points of the best" in told
    assert "P(within 0.5)" in told


def test_pareto_and_shrinkage_by_hand() -> None:
    assert pareto(np.array([1, 2, 2, 3]), np.array([5, 6, 4, 6])).tolist() == [True, True, False, False]
    moved, errors, mean, _ = shrink(np.array([1.0, 3.0]), np.array([1.0, 1.0]))  # tau2 = 2 - 1
    assert mean == pytest.approx(2)
    assert moved.tolist() == pytest.approx([1.5, 2.5])
    assert errors.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert shrink(np.array([1.9, 2.1]), np.array([1.0, 1.0]))[0].tolist() == pytest.approx([2, 2])
