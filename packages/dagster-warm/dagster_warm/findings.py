"""What `dagster-warm check` finds in code that it has loaded."""

import fcntl
import linecache
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from dagster_warm import reads
from dagster_warm.observation import Note, Observation, Place
from dagster_warm.safety import Hazard

FAULT = "fault"
NOTICE = "notice"
KNOWN = "# dagster-warm: known"
"""The comment on a line that accepts its notices."""

_FEW_VARIABLES = 5
"""How many variables a line may read one by one; more are one finding."""
HAZARDS = ("native thread", "thread", "connection", "socket", "GPU", "event loop", "preparation")
"""The kinds of hazards, as their names begin."""


@dataclass(frozen=True)
class Finding:
    """Something that does not fit a fork."""

    severity: str
    """`fault`: it makes the location cold. `notice`: all runs share a value or a thing."""
    kind: str
    name: str
    """What `--accept` matches: the kind, and what it was."""
    instead: str
    """What to write instead."""
    file: str | None
    """Relative to the working directory if it is below it. None if no own code was running."""
    line: int | None
    library: str | None
    """The library that did it while the line imported it."""


def collect(
    observation: Observation, hazards: Iterable[Hazard], left_open: Iterable[int], accepted: Sequence[str]
) -> tuple[list[Finding], int]:
    """Return the findings, faults first, and the number of notices that were accepted.

    Args:
        hazards: what makes the location cold.
        left_open: descriptors that the code left open.
        accepted: name patterns of the notices that the user accepts.
    """
    faults = [_fault(hazard, observation.origin(hazard.entries)) for hazard in hazards]
    notes = [note for note in observation.notes if not _is_removed(note)]
    notes = [*_merge_variables(notes), *_find_open_files(observation, left_open)]
    kept = [note for note in notes if not _is_accepted(note, accepted)]
    found = dict.fromkeys([*faults, *map(_notice, kept)])
    return sorted(found, key=_order), len(notes) - len(kept)


def relative(file: str) -> str:
    """Return a path relative to the working directory if it is below it."""
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _order(finding: Finding) -> tuple[str, str, str, int, str]:
    return finding.severity, finding.kind, finding.file or "", finding.line or 0, finding.name


def _fault(hazard: Hazard, place: Place) -> Finding:
    kind = next((kind for kind in HAZARDS if hazard.name.startswith(kind)), "other")
    return _finding(FAULT, kind, hazard.name, hazard.remedy, place)


def _notice(note: Note) -> Finding:
    return _finding(NOTICE, note.kind, _name(note), reads.REMEDIES[note.kind], note.place)


def _finding(severity: str, kind: str, name: str, instead: str, place: Place) -> Finding:
    file = relative(place.file) if place.file else None
    return Finding(severity, kind, name, instead, file, place.line, place.library)


def _name(note: Note) -> str:
    return f"{note.kind} {note.what}"


def _is_removed(note: Note) -> bool:
    return note.kind == reads.TEMPORARY_FILE and not Path(note.what).exists()


def _is_accepted(note: Note, patterns: Sequence[str]) -> bool:
    line = linecache.getline(note.place.file or "", note.place.line or 0)
    return KNOWN in line or any(fnmatchcase(_name(note), pattern) for pattern in patterns)


def _merge_variables(notes: Iterable[Note]) -> Iterator[Note]:
    """Merge the variables that a line reads if there are many: it reads the whole environment, or settings."""
    for (kind, place), group in groupby(notes, lambda note: (note.kind, note.place)):
        same = list(group)
        if kind == reads.ENVIRONMENT and len(same) > _FEW_VARIABLES:
            yield Note(kind, f"{len(same)} variables", place)
        else:
            yield from same


def _find_open_files(observation: Observation, descriptors: Iterable[int]) -> Iterator[Note]:
    """Find the files that own code keeps open for writing, or locked. Appending is safe in several processes."""
    for fd in descriptors:
        place = observation.origin({f"fd/{fd}"})
        with suppress(OSError):  # it was closed meanwhile
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            if not stat.S_ISREG(os.fstat(fd).st_mode) or place.file is None or place.library:
                continue
            path = str(Path(f"/proc/self/fd/{fd}").readlink())
            if "\nlock:" in Path(f"/proc/self/fdinfo/{fd}").read_text():
                yield Note(reads.LOCK, path, place)
            elif flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_APPEND:
                yield Note(reads.OPEN_FILE, path, place)
