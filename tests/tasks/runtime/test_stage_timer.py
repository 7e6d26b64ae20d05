"""Time is credited to the innermost stage, in any thread."""

import threading

import pytest

from tasks.runtime.stage_timer import StageTimer


class Hand:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_a_nested_stage_is_subtracted(hand):
    clock = StageTimer(hand)
    hand.at += 1  # no stage is open: not credited
    with clock.stage("outer"):
        hand.at += 2
        with clock.stage("inner"):
            hand.at += 4
        hand.at += 8
    hand.at += 16
    with clock.stage("inner"):
        hand.at += 32
    assert clock.seconds == {"outer": 10, "inner": 36}


def test_a_task_in_another_thread_stops_the_flow_that_waits_for_it(hand):
    clock = StageTimer(hand)

    def task() -> None:
        with clock.stage("hidden states"):
            hand.at += 5

    with clock.stage("shards"):
        hand.at += 1
        thread = threading.Thread(target=task)
        thread.start()
        thread.join()
        hand.at += 2
    assert clock.seconds == {"shards": 3, "hidden states": 5}


def test_a_stage_that_fails_is_closed(hand):
    clock = StageTimer(hand)

    def work() -> None:
        with clock.stage("a"):
            hand.at += 1
            raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        work()
    hand.at += 50
    assert clock.seconds == {"a": 1}


def test_a_restart_resets_the_timer_even_within_a_stage(hand):
    clock = StageTimer(hand)
    with clock.stage("a"):
        hand.at += 1
        clock.restart()
        hand.at += 1
        with clock.stage("b"):
            hand.at += 3
    assert clock.seconds == {"b": 3}
