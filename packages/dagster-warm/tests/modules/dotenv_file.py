"""Variables from a .env file."""

import os
from io import StringIO

from dotenv import load_dotenv

load_dotenv(stream=StringIO("MODULE_SETTING=from the file"))


def look() -> dict[str, object]:
    return {"setting": os.environ["MODULE_SETTING"]}
