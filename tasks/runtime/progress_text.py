"""Progress in words: units done, total, rate and time left."""

MINUTE, HOUR = 60, 3600


def describe_progress(
    done: int,
    total: int | None,
    unit: str,
    elapsed: float,
    most: str = "",
    running: float = 0.0,
) -> str:
    """Describe the progress of a stage.

    Args:
        done: Number of finished units.
        total: Number of all units; None if unknown.
        unit: Name of the units, in the plural.
        elapsed: Seconds since the start.
        most: Words before the total and the time left, if the total is an upper bound.
        running: Estimated number of units that the running step has done; they are not in `done`.

    Examples:
        >>> describe_progress(1610, 16640, "rows", 30)
        '1,610 of 16,640 rows (9 %), 54 rows/s, 4 min 40 s left'
        >>> describe_progress(0, 5, "trainings", 95)
        '0 of 5 trainings after 1 min 35 s'
        >>> describe_progress(3, None, "steps", 60)
        '3 steps, 3.0 steps/min after 1 min'
        >>> describe_progress(256, 500, "queries", 180, running=128)  # within the second shard
        '256 of 500 queries (51 %), 2.1 queries/s, 54 s left'
        >>> describe_progress(150, 300, "queries", 500, running=149.9999)
        '150 of 300 queries (50 %), 36 queries/min after 8 min 20 s'
    """
    count = f"{done:,} {unit}" if total is None else f"{done:,} of {most}{total:,} {unit}"
    if not done or elapsed <= 0:
        return f"{count} after {format_duration(elapsed)}"
    count += f" ({100 * done // total} %)" if total else ""
    rate = (done + running) / elapsed
    left = (total - done - running) / rate if total else 0.0
    if left * rate < 0.01:  # the total is unknown, or the last step takes longer than the others
        return f"{count}, {format_rate(rate, unit)} after {format_duration(elapsed)}"
    return f"{count}, {format_rate(rate, unit)}, {most}{format_duration(left)} left"


def describe_end(done: int, unit: str, elapsed: float) -> str:
    """Describe a finished stage.

    Examples:
        >>> describe_end(60, "rows", 0.04)
        '60 rows in 0.0 s'
    """
    return f"{done:,} {unit} in {format_duration(elapsed)}"


def format_rate(per_second: float, unit: str) -> str:
    """Format a rate in the period in which at least one unit is finished.

    Examples:
        >>> format_rate(1234.5, "rows"), format_rate(0.05, "steps"), format_rate(1e-3, "trainings")
        ('1,234 rows/s', '3.0 steps/min', '3.6 trainings/h')
    """
    periods = ((1, "s"), (MINUTE, "min"), (HOUR, "h"))
    seconds, period = next((p for p in periods if per_second * p[0] >= 1), periods[-1])
    rate = per_second * seconds
    return f"{rate:,.1f} {unit}/{period}" if rate < 10 else f"{rate:,.0f} {unit}/{period}"


def format_duration(seconds: float) -> str:
    """Format a duration with its two largest units.

    Examples:
        >>> [format_duration(s) for s in (0.34, 59.7, 60, 95, 3600, 9000)]
        ['0.3 s', '1 min', '1 min', '1 min 35 s', '1 h', '2 h 30 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        minutes, rest = divmod(whole, MINUTE)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / MINUTE), MINUTE)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
