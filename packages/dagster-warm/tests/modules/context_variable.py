"""A context variable with a value."""

from contextvars import ContextVar

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")
TENANT.set("acme")


def look() -> dict[str, object]:
    return {"tenant": TENANT.get()}
