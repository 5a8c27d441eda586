"""What files hold is read once, and again as soon as anybody may have written to them."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from yosinski.data.reading import one_reading
from yosinski.data.sources import hashes
from yosinski.data.sources.scanning import State
from yosinski.errors import BadInput, Failure


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", -60.0)  # as if a minute had passed since it was written
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read."""
    paths: list[str] = []
    real = hashes._read_whole
    monkeypatch.setattr(hashes, "_read_whole", lambda path, state: paths.append(path) or real(path, state))
    return paths


def held(*paths: Path) -> list[str]:
    return hashes.sha256("some:data", [str(path) for path in paths], [State.of(path.stat()) for path in paths])


def true(*paths: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_what_has_not_changed_is_read_once(file: Path, tmp_path: Path, read: list[str]) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 5_000_000)  # more than is read in one go
    assert held(file, other) == held(file, other) == true(file, other)
    assert read == [str(file), str(other)]
    assert held(other) == true(other)
    (remembered,) = (tmp_path / "cache" / "yosinski").iterdir()
    remembered.write_bytes(remembered.read_bytes()[:-5])  # it is only a cache
    assert held(file, other) == true(file, other)
    assert len(read) == 4
    np.save(remembered, np.zeros((3, 5)))
    assert held() == []
    assert held(file, other) == true(file, other)


def in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"CON")


def with_its_time(file: Path) -> None:
    then = file.stat()
    in_place(file)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))


def by_another_file(file: Path) -> None:
    then = file.stat()
    new = file.with_name("new")
    new.write_bytes(b"CONtent")
    os.utime(new, ns=(then.st_atime_ns, then.st_mtime_ns))
    new.rename(file)


def by_a_link(file: Path) -> None:
    by_another_file(Path(shutil.copy(file, file.with_name("aside"))))
    file.unlink()
    file.symlink_to("aside")


@pytest.mark.parametrize("change", [in_place, with_its_time, by_another_file, by_a_link])
def test_whatever_is_written_is_noticed(change: Callable[[Path], None], file: Path, read: list[str]) -> None:
    before = held(file)
    then = file.stat()
    while file.stat().st_ctime_ns == then.st_ctime_ns:  # a clock may tick a few times a second only
        change(file)
    assert file.stat().st_size == then.st_size
    assert held(file) == true(file) != before
    assert len(read) == 2


def test_what_was_just_written_is_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 60.0)
    assert held(file) == held(file)
    assert len(read) == 2


def test_a_file_that_is_written_to_while_it_is_read_is_named(file: Path) -> None:
    before = State.of(file.stat())
    file.write_bytes(b"more content")
    with pytest.raises(Failure, match=f"{file} was written to while it was read"):
        hashes.sha256("some:data", [str(file)], [before])
    with pytest.raises(BadInput, match="nowhere: No such file"):
        hashes.sha256("some:data", [str(file.with_name("nowhere"))], [before])


def test_what_was_read_before_a_failure_is_remembered(file: Path, tmp_path: Path, read: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.write_bytes(b"x")
    states = [State.of(path.stat()) for path in (file, gone)]
    gone.unlink()
    with pytest.raises(BadInput, match="gone"):
        hashes.sha256("some:data", [str(file), str(gone)], states)
    assert held(file) == true(file)
    assert len(read) == 2


def test_times_of_any_age_are_states(file: Path) -> None:
    for ns in (-1_000_000_007, 2**62):
        os.utime(file, ns=(ns, ns))
        assert held(file) == true(file)
    found = file.stat()
    assert (State.of(found).size, State.of(found).changed) == (found.st_size, found.st_ctime_ns)


def test_much_is_told_before_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "MUCH", 3)
    lines: list[str] = []
    with one_reading(tell=lines.append):
        for _ in range(2):
            held(file)
    assert lines == ["reading 1 file of some:data, 0.0 GB, once: then only what changes"]
