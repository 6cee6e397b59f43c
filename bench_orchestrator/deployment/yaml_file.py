"""YAML files of the user: a workspace, an instance's settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench_orchestrator.deployment.home import DeploymentError
from bench_orchestrator.model.errors import one_line


def read_mapping(path: Path) -> Mapping[str, Any]:
    """Return the content of a YAML file; empty if there is no such file, or nothing in it.

    Raises:
        DeploymentError: the file cannot be read, or is not a mapping in YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeploymentError(f"{path} is not valid YAML: {one_line(str(error))}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DeploymentError(f"{path} is not valid: a mapping such as `key: value` is expected.")
    return content
