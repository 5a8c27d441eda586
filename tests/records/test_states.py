"""What became of a run: curves, states and records, and files that are damaged."""

import time
from pathlib import Path

import pytest
import synthetic
from claimed import BASE, COPY, A, change, mine, writes

from yosinski import files
from yosinski.errors import BadInput
from yosinski.files import Damaged
from yosinski.records import specs, states
from yosinski.records.specs import folder
from yosinski.records.states import state

# -------------------------------------------------------------------------------------------------------------- curves


def steps_and_top1(path: Path) -> list[tuple[float, float, float]]:
    return [(row["attempt"], row["step"], row["select_top1"]) for row in states.read_curve(path)]


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    rows = [synthetic.row(10, 0.1 + 0.2), synthetic.row(20, 1 / 3)]
    for row in rows:
        attempt.append(row)
    assert states.read_curve(attempt.path) == [{"attempt": 1, **row} for row in rows]
    head = (attempt.path / "curve.csv").read_text().splitlines()[0]
    assert head == "attempt,step,epoch,learning_rate,train_loss,select_loss,select_top1,seconds"
    assert states.read_curve(folder(tmp_path, COPY.id)) == []


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.append(synthetic.row(10, 0.5))
    attempt.append(synthetic.row(20, 0.75))
    curve = attempt.path / "curve.csv"
    whole = curve.read_text()
    second = whole.index("\n", whole.index("\n") + 1) + 1
    for cut in range(second, len(whole)):
        curve.write_text(whole[:cut])
        assert steps_and_top1(attempt.path) == [(1, 10, 0.5)]
    curve.write_text(whole[:10])
    assert steps_and_top1(attempt.path) == []


def test_of_a_step_written_twice_the_latest_attempt_counts(tmp_path: Path) -> None:
    first = mine(tmp_path)
    for step, top1 in ((10, 0.1), (20, 0.2)):
        first.append(synthetic.row(step, top1))
    first.release()
    second = mine(tmp_path)
    for step, top1 in ((20, 0.6), (30, 0.7)):
        second.append(synthetic.row(step, top1))
    wanted = [(1, 10, 0.1), (2, 20, 0.6), (2, 30, 0.7)]
    assert steps_and_top1(first.path) == wanted
    head, *lines = (first.path / "curve.csv").read_text().splitlines()
    (first.path / "curve.csv").write_text("\n".join([head, *reversed(lines)]) + "\n")
    assert steps_and_top1(first.path) == wanted


def test_rewinding_drops_what_lies_beyond_the_checkpoint_and_the_torn_line(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    for step in (10, 20, 30):
        attempt.append(synthetic.row(step, step / 100))
    curve = attempt.path / "curve.csv"
    before = curve.read_text().splitlines()
    curve.write_text(curve.read_text() + "1,40,0.")
    attempt.rewind(20)
    assert curve.read_text().splitlines() == before[:3]
    attempt.append(synthetic.row(30, 0.9))
    assert steps_and_top1(attempt.path) == [(1, 10, 0.1), (1, 20, 0.2), (1, 30, 0.9)]
    attempt.rewind(0)
    assert curve.read_text() == ""
    attempt.append(synthetic.row(10, 0.1) | {"select_top1_1": 0.2})
    assert curve.read_text().splitlines()[0] == f"{before[0]},select_top1_1"
    assert states.read_curve(attempt.path)[0]["select_top1_1"] == 0.2


def test_a_curve_of_an_earlier_version_keeps_its_columns(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.append(synthetic.row(10, 0.1))
    attempt.rewind(10)
    attempt.append(synthetic.row(20, 0.2) | {"select_top1_1": 0.3})
    assert steps_and_top1(attempt.path) == [(1, 10, 0.1), (1, 20, 0.2)]


def test_a_curve_damaged_in_its_middle_is_named(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    for step in (10, 20):
        attempt.append(synthetic.row(step, 0.5))
    curve = attempt.path / "curve.csv"
    head, first, second = curve.read_text().splitlines()
    for middle in (first[:9], first + ",7", first.replace("0.5", "0.#")):
        curve.write_text("\n".join([head, middle, second]) + "\n")
        with pytest.raises(BadInput, match=r"curve\.csv"):
            states.read_curve(attempt.path)


# -------------------------------------------------------------------------------------------------------------- states


def test_a_runs_states(tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    assert state(path) == "missing"
    specs.enrol(tmp_path, BASE)
    assert state(path) == "missing"
    first = mine(tmp_path)
    assert state(path) == "running"
    first.release()
    assert state(path) == "interrupted"
    second = mine(tmp_path)
    assert state(path) == "running"
    second.fail("the cable was pulled")
    assert state(path) == "failed"
    assert files.read_json(path / "failure.json")["error"] == "the cable was pulled"
    third = mine(tmp_path)
    assert state(path) == "running"
    third.release()
    assert state(path) == "interrupted"  # the failure was an earlier attempt's
    mine(tmp_path).finish({"state": "blocked", "reason": "its base is stuck"})
    assert state(path) == "blocked"
    fifth = mine(tmp_path)
    assert state(path) == "running"
    fifth.finish({"state": "done"})
    assert state(path) == "done"
    assert states.read_record(path) == {"format": 1, "attempts": 5, "state": "done"}


def test_a_look_shows_the_state_and_the_record(tmp_path: Path) -> None:
    path = folder(tmp_path, COPY.id)
    assert states.state_and_record(path) == ("missing", None)
    specs.enrol(tmp_path, COPY)
    assert states.state_and_record(path) == ("missing", None)
    first = mine(tmp_path, COPY)
    assert states.state_and_record(path) == ("running", None)
    first.finish({"state": "blocked", "reason": "its base is stuck"})
    blocked = {"format": 1, "attempts": 1, "state": "blocked", "reason": "its base is stuck"}
    assert states.state_and_record(path) == ("blocked", blocked)
    second = mine(tmp_path, COPY)
    assert states.state_and_record(path) == ("running", blocked)
    assert states.state_and_record(path, lambda name: True) == ("running", blocked)  # nobody's job
    second.fail("the cable was pulled")
    assert states.state_and_record(path) == ("failed", blocked)
    third = mine(tmp_path, COPY)
    third.release()
    assert states.state_and_record(path) == ("interrupted", blocked)
    mine(tmp_path, COPY).finish({"state": "done"})
    assert states.state_and_record(path) == ("done", {"format": 1, "attempts": 4, "state": "done"})
    for left in ("claim.4.json", "failure.json"):
        (path / left).write_text("torn")  # of a run that ended nothing else is read
    assert states.state_and_record(path)[0] == "done"


def test_a_run_that_was_blocked_once_can_fail_and_be_interrupted(tmp_path: Path) -> None:
    mine(tmp_path, COPY).finish({"state": "blocked", "reason": "its base is stuck"})
    second = mine(tmp_path, COPY)
    second.release()
    assert state(second.path) == "interrupted"
    mine(tmp_path, COPY).fail("no space left")
    assert state(second.path) == "failed"


def test_a_finished_run_keeps_its_record_curve_and_claims_only(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.append(synthetic.row(10, 0.5))
    attempt.fail("for now")
    attempt = mine(tmp_path)
    attempt.beat(5, 10)
    beat = states.progress(attempt.path)
    assert beat is not None
    assert (beat["attempt"], beat["step"], beat["steps"]) == (2, 5, 10)
    for name in ("checkpoint.pt", "weights.safetensors"):
        attempt.save(name, writes("x"))
    attempt.finish({"state": "done"})
    kept = {"run.json", "curve.csv", "claim.1.json", "claim.2.json", "weights.safetensors", "record.json"}
    assert {file.name for file in attempt.path.iterdir()} == kept
    assert states.progress(attempt.path) is None


def test_a_heartbeat_says_where_and_when_its_attempt_began(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.beat(30, 100, first_step=10, began=1234.5)
    beat = files.read_json(attempt.path / "progress.json")
    assert beat.pop("time") == pytest.approx(time.time(), abs=60)
    assert beat == {"format": 1, "attempt": 1, "step": 30, "steps": 100, "first_step": 10, "began": 1234.5}
    attempt.beat(31, 100, first_step=10, began=1234.5)
    now = states.progress(attempt.path)
    assert now is not None
    assert (now["step"], now["first_step"]) == (31, 10)


def test_being_blocked_keeps_the_checkpoint(tmp_path: Path) -> None:
    attempt = mine(tmp_path, COPY)
    attempt.save("checkpoint.pt", writes("x"))
    attempt.finish({"state": "blocked", "reason": "its base is running"})
    assert (attempt.path / "checkpoint.pt").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": "1"}', "{\x00", '"format"'])
def test_damaged_files_are_named(content: str, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, BASE)
    for name, read in {"run.json": lambda: specs.load(tmp_path, BASE.id), "record.json": lambda: state(path)}.items():
        file = path / name
        file.write_text(content)
        with pytest.raises(Damaged, match=f"^{file} is damaged$") as caught:
            read()
        assert caught.value.path == file


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(b'{"format": 1, "state": "\xff"}')
    with pytest.raises(Damaged, match=r"record\.json is damaged"):
        files.read_json(file)


def test_a_record_with_an_unknown_state_is_damaged(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.finish({"state": "done"})
    change(attempt.path / "record.json", "state", value="splendid")
    with pytest.raises(Damaged, match=r"record\.json is damaged"):
        state(attempt.path)


@pytest.mark.parametrize("name", ["run.json", "record.json", "halves"])
def test_files_of_a_newer_format_are_named_and_not_called_damaged(name: str, tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.finish({"state": "done"})
    file = tmp_path / "halves" / f"{A.digest}.json" if name == "halves" else attempt.path / name
    change(file, "format", value=2)
    wanted = f"^{file} is of format 2; this version reads up to format 1: update yosinski$"
    with pytest.raises(BadInput, match=wanted) as caught:
        _ = state(attempt.path), specs.load(tmp_path, BASE.id)
    assert not isinstance(caught.value, Damaged)


def test_damaged_files_are_set_aside_under_the_first_free_number(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    for k in (1, 2, 3):
        file.write_text(f"damage {k}")
        assert files.set_aside(file) == tmp_path / f"record.json.damaged-{k}"
    assert not file.exists()
    assert [(tmp_path / f"record.json.damaged-{k}").read_text() for k in (1, 2, 3)] == [
        "damage 1",
        "damage 2",
        "damage 3",
    ]
    (tmp_path / "record.json.damaged-2").unlink()
    file.write_text("damage 4")
    assert files.set_aside(file).name == "record.json.damaged-2"


def test_numbers_that_json_lacks_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_two_machines_with_equal_process_numbers_do_not_share_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared disk (or in containers) process numbers repeat; both writers must come through."""
    real, file = Path.replace, tmp_path / "half.json"
    nested = False

    def replace_after_another(self: Path, target: Path) -> Path:
        nonlocal nested
        if not nested:
            nested = True
            files.write_json(file, {"who": "other"})
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace_after_another)
    files.write_json(file, {"who": "me"})
    assert files.read_json(file)["who"] == "me"
