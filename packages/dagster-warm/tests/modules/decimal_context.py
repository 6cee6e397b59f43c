"""Decimal numbers with more digits."""

import decimal

decimal.getcontext().prec = 50


def look() -> dict[str, object]:
    return {"third": str(decimal.Decimal(1) / 3)}
