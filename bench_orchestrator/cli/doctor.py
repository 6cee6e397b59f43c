"""`bench doctor`: what a deployment's own runs say about it, over GraphQL alone."""

import json
import time
from datetime import datetime, tzinfo
from pathlib import Path

import click

from bench_orchestrator import settings
from bench_orchestrator.analysis.doctor.changes import changes
from bench_orchestrator.analysis.doctor.diagnosis import Diagnosis, diagnose
from bench_orchestrator.atomic import write_whole
from bench_orchestrator.cli.connecting import access_options, connect
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.values import Duration, Output
from bench_orchestrator.model.bounds import MOST_LAUNCHES
from bench_orchestrator.report.doctor import (
    describe_cost,
    render_diagnosis,
    render_diagnosis_markdown,
    summarize_diagnosis,
)
from bench_orchestrator.report.html import render_page
from bench_orchestrator.sources.deployment_reading import BUDGET_S, RUNS_PER_LOCATION, DeploymentReader
from bench_orchestrator.webserver import WebserverUnreachableError

_LONGEST_ANSWER_S = 60.0


@click.command(name="doctor")
@click.option("--url", help=f"Webserver of the deployment. Default: {settings.WEBSERVER_URL}, else the one up here.")
@access_options
@click.option(
    "--runs",
    type=click.IntRange(1, MOST_LAUNCHES),
    default=RUNS_PER_LOCATION,
    show_default=True,
    help="Latest runs to read of each code location.",
)
@click.option(
    "--budget",
    "budget_s",
    type=Duration(),
    default=BUDGET_S,
    show_default="2min",
    help="Time to read for; where it is over, what was read is a sample.",
)
@click.option("--html", type=Output(), help="Write the diagnosis to this page.")
@click.option("--watch", is_flag=True, help="Read again and again, and show what changed. Ctrl-C ends it.")
@click.option("--every", "every_s", type=Duration(), default=60.0, show_default="1min", help="With --watch: the pause.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    url: str | None,
    headers: list[str],
    runs: int,
    budget_s: float,
    html: Path | None,
    watch: bool,
    every_s: float,
    as_json: bool,
) -> None:
    """Say where the seconds go in a deployment, and what to do.

    Reads the latest runs of every code location over GraphQL, one request at a time, and launches nothing. Works with
    any Dagster deployment from 1.11 on, and needs no Dagster here. Shows what is wrong now, what to do in order of the
    seconds saved, the median launch of each location stage by stage, and the launch lag over the hours of the day. What
    a webserver does not answer costs a line.

    With --watch, only what is new is read again, and with --json each reading is a line.

    \b
    Examples:
      bench doctor --url https://dagster.example.com
      bench doctor --url https://example.dagster.cloud/prod --header "Dagster-Cloud-Api-Token: user:..."
      bench doctor --html doctor.html
      bench doctor --watch --every 30s
    """
    webserver = connect(url or settings.webserver_url(), headers, timeout_s=min(budget_s, _LONGEST_ANSWER_S))
    reader = DeploymentReader(webserver, runs, budget_s)
    zone = datetime.now().astimezone().tzinfo
    assert zone is not None  # the result of astimezone has one
    console = open_console(as_json=as_json)

    def read() -> Diagnosis:
        with console.status(f"Reading {webserver.url} ..."):
            diagnosis = diagnose(reader.read(), zone)
        if html:
            write_whole(html, render_page(render_diagnosis_markdown(diagnosis, _name(zone)), {}))
        if as_json:
            click.echo(json.dumps(summarize_diagnosis(diagnosis, _name(zone))))
        return diagnosis

    latest = read()
    console.print(f"{webserver.url}: Dagster {latest.reading.version or 'of an unknown version'}")
    console.print(render_diagnosis(latest, _name(zone)))
    if html:
        console.print(f"Page: {html}")
    try:
        while watch:
            time.sleep(every_s)
            try:
                before, latest = latest, read()
            except WebserverUnreachableError as error:
                console.print(f"{datetime.now():%H:%M:%S}  {error}")
                continue
            lines = list(changes(before, latest)) or ["nothing changed"]
            console.print(f"{datetime.now():%H:%M:%S}  {'; '.join(lines)}. {describe_cost(latest.reading.cost)}.")
    except KeyboardInterrupt:
        console.print("Stopped.")


def _name(zone: tzinfo) -> str:
    """Return the time zone in words: `UTC+0200`."""
    return f"{datetime.now(zone):UTC%z}"
