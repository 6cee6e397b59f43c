"""Written files appear whole or not at all."""

from pathlib import Path

import pytest

from bench_orchestrator.atomic import replacing


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "file"
    with pytest.raises(OSError, match="No such file") as failed, replacing(path) as temporary:
        temporary.write_text("")
    assert failed.value.filename == str(path)
