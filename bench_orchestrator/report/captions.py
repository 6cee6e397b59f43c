"""Captions of tables in a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text


def captioned(table: Table, caption: str) -> Group:
    """Return a table with lines below it. Its own caption is cut off where the table is wider than the terminal."""
    return Group(table, Text(caption, style="table.caption"))
