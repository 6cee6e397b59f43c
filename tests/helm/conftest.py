"""What the tests of both charts share."""

import functools
from collections.abc import Iterator

import pytest
from kubernetes_validate import utils


@pytest.fixture(autouse=True, scope="session")
def _schemas_read_once() -> Iterator[None]:
    """Cache the two megabytes of a version's definitions, which would be read again for every object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield
