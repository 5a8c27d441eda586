"""Which cuts are meant by numbers, names and words; how descriptions are remembered; what `yosinski cuts` says."""

import json
from pathlib import Path

import pytest

from sweeps import arguments
from sweeps.figure2 import figure2
from sweeps.figure3 import figure3
from sweeps.preserved import preserved
from yosinski import files
from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.networks import catalogue
from yosinski.networks.catalogue import architecture
from yosinski.networks.cuts import chosen, stages

# Of resnet18 n is: 1 conv1, 2 and 3 layer1, 4 and 5 layer2, 6 and 7 layer3, 8 and 9 layer4, the last one pooled.


def test_all_are_meant_where_nothing_is_said() -> None:
    assert chosen("alexnet32", None) == chosen("alexnet32", ["all"]) == [1, 2, 3, 4, 5, 6, 7]


def test_stages_end_where_the_size_changes_and_pooling_is_no_change() -> None:
    assert stages("resnet18") == [3, 5, 7, 9]
    assert stages("alexnet32") == [1, 2, 4, 5, 7]


def test_a_network_of_one_size_has_its_quarters_for_stages() -> None:
    names = architecture("vit_b_16").cuts
    assert [names[n - 1] for n in stages("vit_b_16")] == [f"encoder.layers.encoder_layer_{k}" for k in (2, 5, 8, 11)]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (["every:2"], [1, 3, 5, 7, 9]),
        (["every:4"], [1, 5, 9]),
        (["every:100"], [9]),
        (["layer2.1", "layer4.1"], [5, 9]),
        (["layer3.0", 3, "5", "layer1.1"], [6, 3, 5]),
        (["around:layer3.0"], [5, 6, 7]),
        (["around:6:2"], [4, 5, 6, 7, 8]),
        (["around:1:3"], [1, 2, 3, 4]),
        (["around:9:1", "stages"], [8, 9, 3, 5, 7]),
    ],
)
def test_words_names_and_numbers(wanted: list[int | str], meant: list[int]) -> None:
    assert chosen("resnet18", wanted) == meant


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("layr3.1", "unknown cut of resnet18 'layr3.1'; near it: layer3.1"),
        ("stage", "stages"),
        ("every:0", "every:K"),
        ("around:12", "has no cut 12; it has 9: 1 (conv1) to 9 (layer4.1)"),
        ("around:stages", "around needs one cut"),
        (0, "has no cut 0"),
        ("-1", "has no cut -1"),
    ],
)
def test_what_is_no_cut_is_refused(item: int | str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        chosen("resnet18", [item])
    assert message in str(refused.value)


@pytest.mark.parametrize("sweep", [figure2, figure3, preserved])
def test_sweeps_take_cuts_in_all_these_ways(sweep: object) -> None:
    for text, cuts in {"stages": {1, 2, 4, 5, 7}, "every:3": {1, 4, 7}, "conv2,fc6": {2, 6}, "3,5": {3, 5}}.items():
        parameters = arguments(sweep, [f"cuts={text}"])  # type: ignore
        assert {run.cut for run in sweep(**parameters)} - {0} == cuts  # type: ignore
    assert arguments(figure2, ["cuts=all"]) == {"cuts": None}
    assert arguments(figure2, ["cuts=3,conv5"]) == {"cuts": (3, "conv5")}


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    catalogue.traced.cache_clear()
    return tmp_path


def notes(caches: Path) -> list[Path]:
    return list((caches / "yosinski" / "networks").iterdir())


def test_a_description_is_remembered(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = catalogue.traced("squeezenet1_1@64")
    (note,) = notes(caches)
    written = files.read_json(note)
    catalogue.traced.cache_clear()
    assert catalogue.traced("squeezenet1_1@64") == found
    files.write_json(note, {**written, "side": 65})  # it is the note that is read
    catalogue.traced.cache_clear()
    assert catalogue.traced("squeezenet1_1@64").side == 65
    monkeypatch.setattr(catalogue, "GENERATOR", catalogue.GENERATOR + 1)
    catalogue.traced.cache_clear()
    assert catalogue.traced("squeezenet1_1@64") == found


@pytest.mark.parametrize("damage", ["", "{}", '{"format": 1, "made_by": 3}', '{"format": 99}'])
def test_a_damaged_note_is_made_anew(caches: Path, damage: str) -> None:
    found = catalogue.traced("squeezenet1_1@64")
    (note,) = notes(caches)
    note.write_text(damage)
    catalogue.traced.cache_clear()
    assert catalogue.traced("squeezenet1_1@64") == found


def test_only_the_head_depends_on_the_outputs() -> None:
    few, many = (architecture("resnet18").costs(outputs) for outputs in (10, 1000))
    assert few[:-1] == many[:-1]
    assert [row.parameters for row in (few[-1], many[-1])] == [512 * 10 + 10, 512 * 1000 + 1000]
    assert [row.flops for row in (few[-1], many[-1])] == [2 * 512 * 10, 2 * 512 * 1000]
    assert sum(row.parameters for row in many) == 11_689_512  # as torchvision says
    assert sum(row.flops for row in many) == 2 * 1_814_073_344  # 1.814 billion multiply-adds, as torchvision says


def test_missing_timm_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "timm":
            raise catalogue.PackageNotFoundError
        return "1"

    monkeypatch.setattr(catalogue, "version", version)
    with pytest.raises(BadInput, match=r'pip install "yosinski\[timm\]"'):
        catalogue.traced("timm:convnext_atto")


def test_cuts_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuts", "alexnet32", "--json", "--outputs", "3"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content.keys() == {"network", "side", "left_off", "cuts", "head"}
    assert [cut["n"] for cut in content["cuts"]] == [1, 2, 3, 4, 5, 6, 7]
    assert content["cuts"][0] == {"n": 1, "name": "conv1", "parameters": 1216, "flops": 614400, "shape": [16, 8, 8]}
    assert content["head"] == {"name": "head", "parameters": 387, "flops": 768, "shape": [3]}


def test_cuts_as_a_table_and_a_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["cuts", "googlenet", "--out", str(tmp_path / "figures" / "googlenet.svg")]) == 0
    output = capsys.readouterr().out
    assert "12 cuts; 224 x 224 pixels" in output
    assert "left off: auxiliary heads" in output
    drawn = (tmp_path / "figures" / "googlenet.svg").read_text(encoding="utf-8")
    assert "inception4d" in drawn


def test_bad_input_ends_before_anything_is_drawn(tmp_path: Path) -> None:
    assert main(["cuts", "alexnet32", "--out", str(tmp_path / "figure.gif")]) == 2
    assert main(["cuts", "alexnet32", "--outputs", "0"]) == 2
    assert main(["cuts", "alexnet33"]) == 2
