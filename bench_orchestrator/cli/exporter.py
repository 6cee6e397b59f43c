"""`bench exporter`: a deployment's launches and queue as metrics for Prometheus, over GraphQL alone."""

import click
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from bench_orchestrator import settings
from bench_orchestrator.cli.connecting import access_options, connect
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.values import Duration, Instant
from bench_orchestrator.deployment.processes import interrupted_by_sigterm
from bench_orchestrator.exporter import MOST_JOBS, Exporter
from bench_orchestrator.model.errors import UnusableError, one_line

_LONGEST_ANSWER_S = 30.0


@click.command(name="exporter")
@click.option("--url", help=f"Webserver of the deployment. Default: {settings.WEBSERVER_URL}, else the one up here.")
@access_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve the metrics at; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(1, 65535), default=9947, show_default=True, help="Port to serve them at.")
@click.option(
    "--every",
    "every_s",
    type=Duration(),
    default=15.0,
    show_default="15s",
    help="Time between the beginnings of two readings of the deployment, however often it is scraped.",
)
@click.option("--since", "since_us", type=Instant(), help="Also count runs that ended after this time (UTC), once.")
@click.option(
    "--most-jobs",
    type=click.IntRange(1, 10_000),
    default=MOST_JOBS,
    show_default=True,
    help="Jobs with series of their own, some 250 each; all further ones are counted as the job `other`.",
)
def command(
    url: str | None,
    headers: list[str],
    host: str,
    port: int,
    every_s: float,
    since_us: int | None,
    most_jobs: int,
) -> None:
    """Serve a deployment's launches as metrics for Prometheus.

    Reads the deployment over GraphQL, one request at a time, and launches nothing. Nothing is installed there, and no
    Dagster is needed here. Each run that ends is counted once, with its queue time, init time and stages by location
    and job; the queue, daemons, ticks and code locations are gauges.

    Counters begin at zero when this starts. While the webserver does not answer, the page still does: without gauges,
    and with dagster_exporter_collector_success 0.

    \b
    Examples:
      bench exporter --url https://dagster.example.com
      bench exporter --host 0.0.0.0 --port 9947 --every 30s
      bench exporter --since 2026-11-30
    """
    webserver = connect(url or settings.webserver_url(), headers, timeout_s=_LONGEST_ANSWER_S)
    console = open_console()
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
    exporter = Exporter(webserver, registry, every_s=every_s, since_us=since_us, most_jobs=most_jobs, say=console.print)
    try:
        server, _ = start_http_server(port, host, registry)
    except (OSError, ValueError) as error:
        raise UnusableError(f"Metrics cannot be served at {host}:{port}: {one_line(str(error))}") from error
    console.print(f"Metrics of {webserver.url} at http://{host}:{port}/metrics (Ctrl-C stops it)")
    try:
        with interrupted_by_sigterm():
            exporter.run()
    except KeyboardInterrupt:
        console.print("Stopped.")
    finally:
        server.shutdown()
        server.server_close()
