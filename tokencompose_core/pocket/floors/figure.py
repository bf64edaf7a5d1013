"""A measured figure and its limits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured share against its floor or ceiling, all in [0, 1] or as a factor.

    Attributes:
        model: What was measured.
        name: Which property.
        value: What it came to.
        low: Least value allowed.
        high: Largest value allowed.
        count: How many cases were looked at.
    """

    model: str
    name: str
    value: float
    low: float
    high: float
    count: int

    @property
    def reached(self) -> bool:
        """Whether the value is within its limits."""
        return self.low <= self.value <= self.high
