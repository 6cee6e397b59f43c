"""What a command prints."""

import subprocess

VERSION = subprocess.run(["echo", "1.2.3"], capture_output=True, text=True, check=True).stdout.strip()


def look() -> dict[str, object]:
    again = subprocess.run(["echo", "1.2.3"], capture_output=True, text=True, check=True).stdout.strip()
    return {"version": VERSION, "again": again}
