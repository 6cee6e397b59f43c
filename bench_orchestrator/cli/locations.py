"""`bench locations`: the code locations of a deployment, or of workspace.yaml."""

import json
from pathlib import Path

import click
from rich.table import Table

from bench_orchestrator.cli.connecting import connect
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.deployment import find_deployment, find_home, read_locations
from bench_orchestrator.webserver import Webserver


@click.command(name="locations")
@click.option("--url", help="Webserver of the deployment. Default: the one that is up here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(url: str | None, as_json: bool) -> None:
    """List the code locations of a deployment.

    Shows the state of each. Without a running deployment, lists the locations of workspace.yaml.

    \b
    Examples:
      bench locations
      bench locations --url https://dagster.example.com --json
    """
    if url is None and (running := find_deployment(find_home())) and running.answers:
        url = running.url
    rows = _declared() if url is None else _served(connect(url))
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("location", "state", "", box=None, header_style="dim")
    for row in rows:
        table.add_row(row["location"], row["state"], row["error"])
    open_console().print(table)


def _served(webserver: Webserver) -> list[dict[str, str]]:
    statuses = webserver.list_locations()
    return [
        {"location": name, "state": status.state, "error": status.error.strip()}
        for name, status in sorted(statuses.items())
    ]


def _declared() -> list[dict[str, str]]:
    locations = read_locations(Path.cwd() / "workspace.yaml")
    return [{"location": location.name, "state": "not running", "error": ""} for location in locations]
