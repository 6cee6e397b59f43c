"""A settings object from environment variables."""

import os

from pydantic import BaseModel


class Settings(BaseModel):
    home: str
    retries: int = 3


SETTINGS = Settings(home=os.environ["DAGSTER_HOME"])


def look() -> dict[str, object]:
    return {"retries": SETTINGS.retries, "is_home": SETTINGS.home == os.environ["DAGSTER_HOME"]}
