"""Measured rates, of which a forecast is made."""

import time

from tasks.planning import calibration


def test_a_call_that_another_process_delays_does_not_move_a_rate():
    durations = iter([0.0, 0.5, 0.0, 0.0])  # the first call is not timed
    assert calibration._time_call(lambda: time.sleep(next(durations))) < 0.25
    assert next(durations, None) is None
