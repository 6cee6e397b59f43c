"""What the commands have in common that launch a probe in the user's own code: its options, and a home to do it in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from bench_orchestrator.deployment import DeploymentError, find_code
from bench_orchestrator.deployment.locations import TargetKind
from bench_orchestrator.deployment.processes import interrupted_by_sigterm, let_children_be_interrupted
from bench_orchestrator.sweeps.deployments import write_settings
from bench_orchestrator.sweeps.trying import Checkout
from bench_orchestrator.sweeps.warm_check import check_code
from dagster_warm.loading import Outcome

TIMEOUT_S = 300.0
"""Seconds that loading the code, or a launch, may take."""


@dataclass(frozen=True)
class NamedCode:
    """How the code is named on the command line; without any name, it is the project of a folder."""

    module: str | None
    file: Path | None
    workspace: Path | None
    attribute: str | None
    working_directory: Path | None
    location: str | None

    @property
    def is_empty(self) -> bool:
        """Whether no option names it."""
        return not (self.module or self.file or self.workspace)

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """The files and folders that name it."""
        return self.file, self.workspace, self.working_directory

    def find(self, folder: Path) -> Checkout:
        """Return the code in a folder, relative to which files are named.

        Raises:
            DeploymentError: there is none.
        """
        file, workspace, working_directory = (None if path is None else folder / path for path in self.paths)
        code = find_code(
            folder,
            module=self.module,
            file=file,
            workspace=workspace,
            attribute=self.attribute,
            working_directory=working_directory,
            location=self.location,
        )
        return Checkout(code, folder)


def code_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the code; the command gets them as `named`."""

    @wraps(command)
    def named(
        *,
        module: str | None,
        file: Path | None,
        workspace: Path | None,
        attribute: str | None,
        working_directory: Path | None,
        location: str | None,
        **others: Any,
    ) -> Any:
        if sum(option is not None for option in (module, file, workspace)) > 1:
            raise click.UsageError("Name the code once: -m, -f or -w.")
        if module is None and file is None and (attribute or working_directory):
            raise click.UsageError("-a and -d belong to -m or -f.")
        if (module or file) and location:
            raise click.UsageError("--location belongs to a workspace or a project, not to -m or -f.")
        return command(named=NamedCode(module, file, workspace, attribute, working_directory, location), **others)

    for option in reversed(
        (
            click.option("-m", "--module-name", "module", help="Module of the definitions."),
            click.option("-f", "--python-file", "file", type=Path, help="File of the definitions."),
            click.option("-w", "--workspace", type=Path, help="Workspace file that names them."),
            click.option("-a", "--attribute", help="With -m or -f: what in it is loaded. Default: what Dagster finds."),
            click.option(
                "-d",
                "--working-directory",
                type=Path,
                help="With -m or -f: where it is imported from. Default: the current folder.",
            ),
            click.option("--location", help="The code location that is meant, if a workspace or project has several."),
        )
    ):
        named = option(named)
    return named


def refuse_installed(checkout: Checkout) -> None:
    """Refuse a module that is not in its folder: of two checkouts, both would import the one that is installed.

    Raises:
        DeploymentError: it is not there.
    """
    code = checkout.code
    if code.kind is TargetKind.FILE:
        return
    folder = code.working_directory or checkout.folder
    name, *_ = code.target.split(".")
    if not ((folder / name).is_dir() or (folder / f"{name}.py").is_file()):
        raise DeploymentError(
            f"{folder} has no {name}: each checkout would import the one that is installed. Say where it is with -d, "
            f"such as -m {code.target} -d src."
        )


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield the folder of a new instance, which goes with the block; SIGTERM interrupts it."""
    let_children_be_interrupted()
    with interrupted_by_sigterm(), TemporaryDirectory(prefix="bench-try-") as made:
        home = Path(made)
        write_settings(home)
        yield home


def load_once(checkout: Checkout, home: Path, timeout_s: float, console: Console) -> Outcome:
    """Load the code once, and return what of it does not fit a fork.

    Raises:
        DeploymentError: it cannot be loaded.
    """
    name = checkout.code.name
    console.print(f"Loading {name} in {checkout.folder}, of which nothing is executed but its import ...")
    began_s = time.monotonic()
    checked = check_code(checkout.code, checkout.folder, home, timeout_s)
    if checked.error:
        raise DeploymentError(f"{name} cannot be loaded: {checked.error}")
    console.print(f"It is loaded, after {time.monotonic() - began_s:.1f} s.")
    return checked
