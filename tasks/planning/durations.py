"""Durations in words, for forecasts."""


def format_duration(seconds: float) -> str:
    """Return a time in seconds up to 120, then in minutes, then in hours and minutes.

    Examples:
        >>> [format_duration(seconds) for seconds in (0.4, 75, 121, 27_861, 400_000)]
        ['0 s', '75 s', '2 min', '7 h 44 min', '111 h']
    """
    if seconds <= 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h" + (f" {rest} min" if rest and hours < 100 else "")
