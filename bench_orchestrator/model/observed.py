"""Finished runs of any code location, observed: which of them, how far, and what is kept of each."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.runs import Run
from bench_orchestrator.model.tags import OBSERVATION, Tag

OTHERS = "*"
"""All locations that are not named."""


class FinishedRun(NamedTuple):
    """A finished run in the order in which runs last changed."""

    updated_us: int
    """When its record last changed, by the clock of the process that changed it; as a rule, when it ended."""
    storage_id: int
    """Its place in the order in which runs were stored."""
    run_id: str


@dataclass(frozen=True)
class Observed:
    """A finished run and its launch."""

    location: str
    """Its code location; empty if it has none."""
    job: str
    partition_key: str | None
    updated_us: int
    launch: Launch


@dataclass(frozen=True)
class Progress:
    """How far the runs of an instance have been observed."""

    until_us: int = 0
    """All finished runs that last changed before are observed, unless their record was written late."""
    newest_id: int | None = None
    """The storage id up to which deleted runs are counted; None before the first observation."""
    deleted: int = 0
    """Runs that were deleted before they were observed."""
    recent: frozenset[tuple[str, int]] = frozenset()
    """Run id and last change of what was looked at of late, observed or left out."""


@dataclass(frozen=True)
class Observation:
    """Some runs that were looked at together, which are saved together."""

    looked_at: tuple[FinishedRun, ...]
    observed: tuple[Observed, ...]
    """Those of them that are selected."""
    until_us: int
    newest_id: int | None
    deleted: int
    """Runs found to be deleted since the observation before."""
    unreadable: tuple[str, ...]
    """The ids of those whose records cannot be read."""
    forget_us: int
    """Those that last changed before are recent no longer."""


@dataclass(frozen=True)
class Selection:
    """Which runs are observed."""

    shares: Mapping[str, float] = field(default_factory=lambda: {OTHERS: 1.0})
    """The share of the runs of each location, from 0 to 1."""
    of_bench: bool = False
    """Whether sweeps, their trials and their harvests are observed, too."""

    @classmethod
    def parse(cls, entries: Iterable[str], *, of_bench: bool = False) -> Self:
        """Read the locations: `sales` for all of its runs, `sales=0.1` for a tenth, `*` for all other locations.

        Locations that are not named are left out, unless there is an entry `*`. No entry at all selects everything.

        Raises:
            UnusableError: a share is no number from 0 to 1.
        """
        shares: dict[str, float] = {}
        for entry in filter(None, map(str.strip, entries)):
            name, _, told = entry.rpartition("=") if "=" in entry else (entry, "", "1")
            try:
                share = float(told)
            except ValueError:
                share = -1.0
            if not 0 <= share <= 1:
                raise UnusableError(f"{one_line(entry, 40)!r} is no location with a share from 0 to 1, like sales=0.1.")
            shares[name.strip()] = share
        return cls(shares or {OTHERS: 1.0}, of_bench)

    def takes(self, run: Run) -> bool:
        """Return whether a run is observed: the same for a run at each look, whichever runs there are beside it."""
        if run.tags.get(Tag.KIND) == OBSERVATION or (run.of_bench and not self.of_bench):
            return False
        share = self.shares.get(run.location, self.shares.get(OTHERS, 0.0))
        digest = hashlib.blake2b(run.run_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) < share * 2**64
