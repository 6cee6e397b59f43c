"""Rendering of report templates, with their filters: number formats, tables, Markdown escaping."""

from functools import cache
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.report.text import escape, table

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Render a template of `templates/`; an undefined name is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    # Deferred because the import takes 0.1 s, and few processes of the meta location write a report.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bench_orchestrator.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown is escaped by `md`, where text comes from outside
    )
    environment.filters |= {"md": escape, "estimate": _estimate, "number": _number, "percent": _percent}
    environment.globals |= {"table": table, "wording": wording}
    return environment


def _estimate(estimate: Any) -> str:
    return wording.describe_estimate(estimate, unit="")


def _number(estimate: Any) -> str:
    """Format an estimate like `estimate`, but leave out a missing interval."""
    return wording.describe_estimate(estimate, "", None, no_interval="")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
