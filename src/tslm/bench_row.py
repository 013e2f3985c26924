"""Row of a benchmark table: a figure, its target, and whether the target is met."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row without value shows the reason in its note; a row without limits has no target."""

    name: str
    value: float | None
    unit: str = ""
    least: float = 0.0
    most: float = math.inf
    note: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name:52}  skipped: {self.note}"
        note = f"  {self.note}" if self.note else ""
        return f"{self.name:52}{self.value:9.4g} {self.unit:9} {self._verdict():23}{note}".rstrip()

    def _verdict(self) -> str:
        if self.least <= 0 and math.isinf(self.most):
            return ""
        wanted = f"{self.least:g}-{self.most:g}" if self.least > 0 else f"<= {self.most:g}"
        if math.isinf(self.most):
            wanted = f">= {self.least:g}"
        verdict = "met" if self.least <= self.value <= self.most else "MISSED"  # type: ignore[operator]
        return f"wanted {wanted:10} {verdict}"
