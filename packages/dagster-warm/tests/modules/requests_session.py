"""A session for HTTP with headers and retries."""

import requests
from requests.adapters import HTTPAdapter

SESSION = requests.Session()
SESSION.headers["X-Team"] = "data"
SESSION.mount("http://", HTTPAdapter(max_retries=0))


def look() -> dict[str, object]:
    try:
        SESSION.get("http://127.0.0.1:1", timeout=1)
    except requests.ConnectionError:
        return {"team": SESSION.headers["X-Team"], "refused": True}
    return {"refused": False}
