"""Puts the committed figures of the warm server into every page that states them.

    python -m benchmarks.warm_server.pages

Each place is marked in the page: `<!-- warm-server: table -->` … `<!-- end -->`.
"""

import re
from pathlib import Path

from benchmarks.warm_server.samples import Execution

PROJECT = Path(__file__).parents[2]
RESULTS = PROJECT / "docs" / "results" / "warm-server"
PAGES = tuple(PROJECT / page for page in ("README.md", "packages/dagster-warm/README.md", "benchmarks/README.md"))

_PLACE = re.compile(r"(<!-- warm-server: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: Path, execution: Execution) -> str:
    """Return the page's text with the figures of this execution."""
    content = {"table": f"{execution.table()}\n\n{execution.caption()}", "limits": execution.limits()}
    text, found = _PLACE.subn(
        lambda place: f"{place[1]}{content[place[2]]}\n{place[3]}", page.read_text(encoding="utf-8")
    )
    assert found, f"{page} has no place for the figures"
    return text


if __name__ == "__main__":
    committed = Execution.read(RESULTS)
    committed.write(RESULTS)
    for one in PAGES:
        one.write_text(filled(one, committed), encoding="utf-8")
