"""Rendering of report templates, with their filters: number formats, tables, escaping.

Whatever is inserted is escaped, for Markdown or for HTML by the template's name, unless it is marked as `Markdown`
(or as `Markup`).
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.report.text import Markdown, as_markdown, code, escape, table

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Render a template of `templates/`; an undefined name is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    # Deferred because the import takes 0.1 s, and few processes of the meta location write a report.
    from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context
    from jinja2.nodes import EvalContext

    @pass_eval_context
    def finalize(context: EvalContext, value: object) -> object:
        return value if context.autoescape else as_markdown(value if isinstance(value, str) else str(value))

    environment = Environment(
        loader=PackageLoader("bench_orchestrator.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        finalize=finalize,
    )
    environment.filters |= {
        "md": escape,
        "code": code,
        "own": Markdown,
        "estimate": _estimate,
        "number": _number,
        "percent": _percent,
    }
    environment.globals |= {"table": table, "wording": wording}
    return environment


def _estimate(estimate: Any) -> str:
    return wording.describe_estimate(estimate, unit="")


def _number(estimate: Any) -> str:
    """Format an estimate like `estimate`, but leave out a missing interval."""
    return wording.describe_estimate(estimate, "", None, no_interval="")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
