"""Whether a loss "keeps" the PSNR, or leaves it "comparable": by what the papers' own losses cost."""

from __future__ import annotations

from demoe.evaluation import statistics

# dB. The most that a loss costs in the tables of a paper that says so of it, rounded up to 0.05: 0.13 in Tables I to
# III of Liang et al. (local, MPRNet on HIDE), 0.33 in Table 1 of Chang et al. (TFMLC, HINet on GoPro).
KEPT, COMPARABLE = 0.15, 0.35


def keeps(tolerance: float, difference: float, low: float, high: float, scenes: int, **trainings) -> bool | None:
    """Whether a difference of PSNR costs less than ``tolerance``; None where it may or may not.

    Not inferior: all of ``statistics.judge``'s intervals, whose arguments these are, above minus the tolerance.
    """
    more = {name: value + tolerance if name.endswith("_trainings") else value for name, value in trainings.items()}
    moved = (value + tolerance for value in (difference, low, high))
    return {1: True, -1: False}.get(statistics.judge(*moved, scenes, smallest=1e-9, **more).sign)
