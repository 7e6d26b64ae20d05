"""A process-wide setting is never changed under a thread that holds it."""

import threading
import time

import pytest

from fastif.numerics.shared_setting import SharedSetting

SECONDS = 20


class Recorded:
    """Setting of a process, with every value that was written."""

    def __init__(self):
        self.value, self.written = False, []
        self.setting = SharedSetting(lambda: self.value, self._write)

    def _write(self, value):
        self.value = value
        self.written.append(value)


@pytest.mark.parametrize("first", [True, False])
def test_a_block_within_has_its_own_value_and_the_outer_one_comes_back(first):
    recorded = Recorded()
    with recorded.setting.use(first):
        with recorded.setting.use(first):
            assert recorded.value == first
        with recorded.setting.use(not first), recorded.setting.use(first):
            assert recorded.value == first
        assert recorded.value == first
    assert recorded.value is False


def test_the_value_comes_back_after_an_error():
    recorded = Recorded()
    recorded.value = True
    with pytest.raises(ZeroDivisionError), recorded.setting.use(False):
        assert recorded.value is False
        _ = 1 // 0
    assert recorded.value is True


def test_many_threads_see_their_own_value_and_none_starves():
    recorded, wrong, finished = Recorded(), [], []

    def work(own):
        for round_number in range(30):
            with recorded.setting.use(own):
                before = recorded.value
                time.sleep(0.0005 * (round_number % 3))
                wrong.extend([own] * (before != own or recorded.value != own))
                with recorded.setting.use(not own):
                    wrong.extend([own] * (recorded.value == own))
        finished.append(own)

    threads = [threading.Thread(target=work, args=(bool(i % 2),), daemon=True) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(finished) == 6
    assert not wrong
    assert recorded.value is False


def test_threads_with_the_same_value_hold_it_together():
    recorded, both = Recorded(), threading.Barrier(2, timeout=SECONDS)
    arrived = []

    def work():
        with recorded.setting.use(True):
            arrived.append(both.wait())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(arrived) == [0, 1]
    assert recorded.written == [True, False]
