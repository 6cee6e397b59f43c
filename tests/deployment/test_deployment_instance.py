"""The location of a home's instance, with and without a PostgreSQL database."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from postgresql import new_database

from bench_orchestrator import settings
from bench_orchestrator.deployment import DeploymentError, instance_home


def test_without_a_database_it_is_the_home(home: Path) -> None:
    assert instance_home(home, None) == home
    assert instance_home(home, "") == home


def test_the_instance_on_postgresql_has_the_homes_settings_and_no_url_in_its_file(
    home: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_database(postgres_server) as url:
        folder = instance_home(home, url)
        assert instance_home(home, url) == folder
        written = (folder / "dagster.yaml").read_text()
        assert url not in written
        config = yaml.safe_load(written)
        assert config.pop("storage") == {"postgres": {"postgres_url": {"env": settings.POSTGRES_URL}}}
        assert config == yaml.safe_load((home / "dagster.yaml").read_text())
        monkeypatch.setenv(settings.POSTGRES_URL, url)
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
            assert instance.get_run_ids() == []


@pytest.mark.parametrize(
    "url", ["mysql://host/database", "postgresql://host:5432", "postgresql://host/", "postgresql://[::1/x", "a10"]
)
def test_what_is_no_url_of_a_database_is_refused(home: Path, url: str) -> None:
    with pytest.raises(DeploymentError, match="is not the URL of a PostgreSQL database"):
        instance_home(home, url)


def test_a_database_that_cannot_be_used_is_named_without_its_password(home: Path, postgres_server: str) -> None:
    missing = f"{postgres_server.rpartition('/')[0]}/missing".replace("dagster@", "dagster:a-secret@")
    with pytest.raises(DeploymentError, match=r'/missing cannot be used: .*database "missing" does not exist') as no:
        instance_home(home, missing)
    assert "a-secret" not in str(no.value)
    assert not (home / ".bench" / "postgresql").exists()


def test_a_home_that_names_its_storage_is_left_alone(home: Path, postgres_server: str) -> None:
    (home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: here}}")
    with pytest.raises(DeploymentError, match=r"already configures the storage of runs and events \(storage\)"):
        instance_home(home, postgres_server)


@pytest.mark.parametrize("password", ["p@secret", "p/secret", "p%zzsecret", "secret:x", "p%40secret"])
def test_a_database_that_is_refused_is_named_without_its_password(home: Path, password: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        instance_home(home, f"postgresql://user:{password}@127.0.0.1:9/database?password=secret")
    assert "secret" not in str(refused.value)
    assert "postgresql://***@127.0.0.1:9/database" in str(refused.value)
