"""The three phases of sparse training, as arithmetic on step numbers. No torch here."""

from dataclasses import dataclass
from typing import Literal

from edgesearch.cells.spec import kept_entries
from edgesearch.config import ScheduleConfig

Phase = Literal["dense", "iht", "retrain"]


@dataclass(frozen=True)
class Phases:
    """Dense for a third of `total` steps, iterative hard thresholding for a third, fixed support for the rest.

    Kusupati et al. 2018, section 3.3. `cut="step"` trims to the final sparsity at once, as the reference does;
    `cut="ramp"` lets it grow as 1 - (1 - p)^3 over the first half of the second phase (Zhu & Gupta 2017).
    """

    total: int
    trim_every: int
    cut: str
    active: bool

    @classmethod
    def of(cls, schedule: ScheduleConfig, total: int) -> "Phases":
        """Return the phases of a training of `total` steps."""
        return cls(total, schedule.trim_every, schedule.cut, active=schedule.name == "three_phase")

    @property
    def iht_from(self) -> int:
        """First step of iterative hard thresholding."""
        return self.total // 3

    @property
    def retrain_from(self) -> int:
        """First step with a fixed support."""
        return max(2 * self.total // 3, self.iht_from + 1)

    def at(self, step: int) -> Phase:
        """Return the phase that `step` (from 0) belongs to."""
        if not self.active or step < self.iht_from:
            return "dense"
        return "iht" if step < self.retrain_from else "retrain"

    def trims(self, step: int) -> bool:
        """Tell whether the supports are chosen anew after `step`; the last choice falls on the phase's last step."""
        if self.at(step) != "iht":
            return False
        return (step - self.iht_from) % self.trim_every == 0 or step == self.retrain_from - 1

    def kept(self, size: int, sparsity: float, step: int) -> int:
        """Return how many of `size` entries a trim after `step` keeps on the way to `sparsity`."""
        ramp = (self.retrain_from - self.iht_from) // 2
        progress = min(1.0, (step - self.iht_from) / ramp) if self.cut == "ramp" and ramp else 1.0
        return kept_entries(size, sparsity * (1 - (1 - progress) ** 3))
