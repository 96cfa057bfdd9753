"""Checks of options: an invalid one is an error that names it."""


def whole_number(name: str, value: object, *, least: int = 0) -> int:
    """Return the value of an option. Raises TypeError and ValueError where it is invalid."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def seconds(name: str, value: object, *, may_be_zero: bool = False) -> float:
    """Return the value of an option. Raises TypeError and ValueError where it is invalid."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if may_be_zero and not value >= 0:
        raise ValueError(f"{name} must not be negative, but is {value}")
    if not may_be_zero and not value > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {value}")
    return float(value)
