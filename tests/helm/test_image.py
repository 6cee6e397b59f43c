"""Properties of the image that can be checked without building it: its recipe, its context, its lock."""

import re
import shlex
import subprocess
from pathlib import Path

from distributions import PACKAGES, PROJECT, metadata, needed, requirements
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMAGE = PROJECT / "helm" / "image"

LABELS = {"title": "name", "version": "version", "description": "description"}
"""The build's arguments, and the entries of the project's metadata that they hold."""


def instructions() -> list[list[str]]:
    """Return the words of each of the Dockerfile's instructions."""
    lines = [line for line in (IMAGE / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    return [words for line in "\n".join(lines).replace("\\\n", " ").splitlines() if (words := line.split())]


def locked(path: Path) -> dict[str, set[str]]:
    """Return the hashes of each requirement of a lock, by version and markers."""
    entries = re.findall(r"^([^ \n]+==.*?) \\\n((?: +--hash=\S+(?: \\)?\n)+)", path.read_text(), re.MULTILINE)
    return {entry: set(re.findall(r"--hash=(\S+)", hashes)) for entry, hashes in entries}


class TestTheDockerfile:
    def test_what_it_adds_comes_from_its_context(self) -> None:
        assert "ADD" not in {words[0] for words in instructions()}
        assert "://" not in (IMAGE / "Dockerfile").read_text()

    def test_all_stages_begin_with_the_base_image(self) -> None:
        stages = [words[1:] for words in instructions() if words[0] == "FROM"]
        names = {stage[2] for stage in stages if len(stage) == 3}
        assert {stage[0] for stage in stages} - names == {"${BASE_IMAGE}"}

    def test_it_runs_as_the_user_that_kubernetes_can_see_is_not_root(self) -> None:
        last_stage = max(i for i, words in enumerate(instructions()) if words[0] == "FROM")
        assert [words[1] for words in instructions()[last_stage:] if words[0] == "USER"] == ["1000:1000"]


class TestTheCommand:
    def test_it_names_the_image_as_the_project_is_named(self) -> None:
        command = ["make", "--dry-run", "--no-print-directory", "image", "BUILDER=podman"]
        made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        words = shlex.split(made.stdout.replace("\\\n", " "))
        project = metadata(PROJECT)
        assert words[words.index("--tag") + 1] == f"{project['name']}:{project['version']}"
        arguments = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--build-arg")
        assert arguments == {name.upper(): project[key] for name, key in LABELS.items()}


class TestTheContext:
    def test_it_is_what_the_dockerfile_copies(self) -> None:
        rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
        copied = {
            source
            for words in instructions()
            if words[0] == "COPY" and not words[1].startswith("--from")
            for source in words[1:-1]
        }
        assert rules[0] == "*"
        assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
        assert all((PROJECT / source).exists() for source in copied)


class TestTheLock:
    def test_it_is_the_part_of_requirements_lock_that_the_project_needs_where_it_runs(self) -> None:
        lock, everything = locked(IMAGE / "requirements.lock"), locked(PROJECT / "requirements.lock")
        # Ignore the markers: development may need a package on more systems.
        pinned, allowed = (
            {entry.partition(" ; ")[0]: entries[entry] for entry in entries} for entries in (lock, everything)
        )
        assert pinned == {pin: allowed[pin] for pin in pinned}
        here = {canonicalize_name(r.name) for r in map(Requirement, lock) if not r.marker or r.marker.evaluate()}
        assert here == set(needed([*requirements(), *requirements("all")])) - set(PACKAGES)

    def test_it_names_no_package_index(self) -> None:
        lines = (IMAGE / "requirements.lock").read_text().splitlines()
        assert [line for line in lines if line.startswith("--") or "://" in line] == []
