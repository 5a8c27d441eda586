"""Looking at every file: in order, by threads where that is waiting, and by none where it is not."""

import threading
import time
from itertools import count

import pytest

from yosinski.data.sources.scanning import each


@pytest.mark.parametrize("items", [0, 1, 5, 40, 1000])
@pytest.mark.parametrize("worked", [0.0, 1.0])
def test_all_is_found_in_order_by_threads_if_most_of_the_time_is_waiting(
    items: int, worked: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(time, "thread_time", lambda: worked * next(clock))
    by = set()

    def look(item: int) -> int:
        by.add(threading.get_ident())
        return -item

    assert list(each(look, range(items))) == [-item for item in range(items)]
    assert (by <= {threading.get_ident()}) == (worked == 1.0 or items < 2)


def test_what_goes_wrong_is_raised_whoever_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for worked in (time.perf_counter, lambda: 0.0):
        monkeypatch.setattr(time, "thread_time", worked)
        found = each(lambda item: time.sleep(0.06) or 1 // (item - 3), range(5))
        with pytest.raises(ZeroDivisionError):
            list(found)
