"""Which stages of a run may run.

Selection(only=("curate",)).selects("train")  # False
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.stage import STAGES

# What is done with a checkpoint that is not the last.
STEP_STAGES = ("export", "evaluate")


@dataclass(frozen=True)
class Selection:
    """Which stages may run, and which must although they are complete.

    With a `step`, export and evaluate take the checkpoint saved at that step instead of the last, and no other stage
    runs: what the checkpoint was made from is used as it is, even while training goes on. Without `wait`, a stage that
    another run is making fails instead of waiting for it.

    Raises:
        ValueError: a name is not a stage, `from_` comes after `until`, or another stage is named beside a `step`.
    """

    from_: str | None = None
    until: str | None = None
    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    step: int | None = None
    wait: bool = True

    def __post_init__(self) -> None:
        named = [name for name in (self.from_, self.until, *self.only, *self.force) if name is not None]
        unknown = sorted(set(named) - set(STAGES))
        if unknown:
            raise ValueError(f"no stage {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
        if self.from_ and self.until and STAGES.index(self.from_) > STAGES.index(self.until):
            raise ValueError(f"--from {self.from_} comes after --until {self.until}")
        if self.step is not None:
            if self.step < 1:
                raise ValueError(f"--step {self.step}: expected the number of an optimizer step, from 1")
            if others := sorted(set(named) - set(STEP_STAGES)):
                raise ValueError(
                    f"--step {self.step} exports and evaluates one checkpoint; it cannot run {', '.join(others)}: "
                    f"leave out --step, or name {' and '.join(STEP_STAGES)} only"
                )

    @property
    def title(self) -> str:
        """The stages that may run, for people: `all stages`, `train to report`, `curate, deduplicate`."""
        chosen = [stage for stage in STAGES if self.selects(stage)]
        if self.only or len(chosen) < 3:
            words = ", ".join(chosen) or "no stage"
        else:
            words = "all stages" if len(chosen) == len(STAGES) else f"{chosen[0]} to {chosen[-1]}"
        return words + (f" of step {self.step:,}" if self.step is not None else "")

    def selects(self, stage: str) -> bool:
        """Whether `stage` may run."""
        if self.step is not None and stage not in STEP_STAGES:
            return False
        first = STAGES.index(self.from_) if self.from_ else 0
        last = STAGES.index(self.until) if self.until else len(STAGES) - 1
        return first <= STAGES.index(stage) <= last and (not self.only or stage in self.only)
