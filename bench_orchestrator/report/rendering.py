"""The templates of reports, and what they may call: the wording of numbers, tables, and text that stays text."""

from functools import cache
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.report.text import escape, table

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Fill in a template of `templates/`; a name that it does not know is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    # Deferred: a tenth of a second in every process of the meta location, few of which write a report.
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
    """As `estimate`, with nothing in place of an interval that is not there."""
    return wording.describe_estimate(estimate, "", None, no_interval="")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
