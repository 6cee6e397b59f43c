"""Where the sides of an experiment are launched: in the current deployment, if it serves them as required."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import dagster as dg
import pytest
import yaml
from advice_samples import fitted, sample_experiment, sized_sweep

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.lag_model import comparable_sizes
from bench_orchestrator.analysis.remedies import rank_remedies
from bench_orchestrator.deployment import DeploymentError, LocationState
from bench_orchestrator.deployment.status import DeploymentStatus, LocationStatus
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import ServerState, Variant
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.sources.kubernetes import KubernetesServers
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps import deployments
from bench_orchestrator.sweeps.deployments import OWN_INSTANCE, Site, open_sites, served_name
from bench_orchestrator.sweeps.planning import with_baselines_again
from bench_orchestrator.webserver import LocationEntry, Webserver
from synthetic_locations.shape import parse_shape

STOCK, WARM = Variant("stock", ("a10",), warm=False), Variant("warm", ("a10",), warm=True)
LIMITED = Variant("half", ("a2k",), cpus=0.5)
PLAIN = Variant("plain", ("a10",))
REPLACED = Variant("replaced", ("a10",), warm=False, server=ServerState.REPLACED)


class FakeWebserver(Webserver):
    """Serves only these locations."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.url = names, "http://fake"

    def list_locations(self) -> dict[str, LocationEntry]:
        return {name: LocationEntry(name, "loaded", host=f"bench-{name}") for name in self.names}


def here(instance: dg.DagsterInstance, *names: str) -> Site:
    return Site("", FakeWebserver(names), instance, UsageMeter(Path("nowhere")), {})


K8S = {
    "module": "dagster_k8s",
    "class": "K8sRunLauncher",
    "config": {
        "job_namespace": "dagster",
        "service_account_name": "launcher",
        "instance_config_map": "instance",
        "dagster_home": "/home",
    },
}


@pytest.fixture
def on_kubernetes(prepared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Yield an instance whose runs are Kubernetes jobs, except for those of two locations."""
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    launcher = {
        "module": "dagster_warm.launcher",
        "class": "WarmRunLauncher",
        "config": {"cold": K8S, "locations": ["a10_warm", "oddly_warm"]},
    }
    settings = {"telemetry": {"enabled": False}, "run_launcher": launcher}
    (prepared_home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(prepared_home)) as made:
        yield made


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the groups of variants for which separate deployments were opened."""
    opened: list[list[str]] = []

    class Recorded:
        def __init__(self, name: str, variants: Sequence[Variant], home: Path) -> None:
            self.name, self.home = name, home
            opened.append([variant.name for variant in variants])

        def start(self, say: Callable[[str], None]) -> Site:
            say("loading")
            return Site(self.name, FakeWebserver(()), mock.Mock(), UsageMeter(self.home), {})

        def stop(self) -> None:
            pass

    monkeypatch.setattr(deployments, "_Own", Recorded)
    return opened


def opened(
    variants: Sequence[Variant], site: Site, tmp_path: Path
) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, Site]]:
    """Return the locations and the site of each variant, by name."""
    with open_sites(variants, site, tmp_path / "experiments" / "run", print) as (placed, found):
        return {variant.name: variant.locations for variant in placed}, found


class TestNames:
    def test_a_location_is_named_for_how_it_is_served(self) -> None:
        assert served_name("a2k", LIMITED) == "a2k_500m"
        assert served_name("a2k", Variant("two", ("a2k",), cpus=2)) == "a2k_2000m"
        assert served_name("a10", WARM) == "a10_warm"
        assert served_name("a10", Variant("both", ("a10",), cpus=0.25, warm=True)) == "a10_250m_warm"
        assert [served_name("a10", variant) for variant in (STOCK, PLAIN, REPLACED)] == ["a10"] * 3

    def test_a_name_that_says_so_already_stays(self) -> None:
        assert served_name("a2k_500m", LIMITED) == "a2k_500m"
        assert served_name("a10_warm", WARM) == "a10_warm"

    @pytest.mark.parametrize("shape", ["a10", "a2k", "a10p10k", "a500_chain", "a10_sleep500ms", "a10_inprocess"])
    @pytest.mark.parametrize("variant", [LIMITED, WARM])
    def test_no_shape_has_such_a_name(self, shape: str, variant: Variant) -> None:
        assert parse_shape(shape).name == shape
        with pytest.raises(ValueError, match="there is no option"):
            parse_shape(served_name(shape, variant))


@pytest.mark.usefixtures("own")
class TestLocally:
    def test_what_is_served_as_it_is_wanted_is_launched_there(
        self, instance: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        site = here(instance, "a10", "a10_warm", "a2k_500m")
        locations, found = opened((PLAIN, STOCK, WARM, LIMITED), site, tmp_path)
        assert locations == {"plain": ("a10",), "stock": ("a10",), "warm": ("a10_warm",), "half": ("a2k_500m",)}
        assert set(map(id, found.values())) == {id(site)}
        assert own == []

    def test_sides_are_compared_in_places_alike(
        self, instance: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        """If one is not served, the others move with it, except those without requirements."""
        site = here(instance, "a10", "a2k_500m")
        locations, found = opened((PLAIN, STOCK, WARM, LIMITED), site, tmp_path)
        assert locations == {"plain": ("a10",), "stock": ("a10",), "warm": ("a10",), "half": ("a2k",)}
        assert own == [["stock"], ["warm"], ["half"]]
        assert found["plain"] is site

    def test_servers_of_another_deployment_are_not_touched(
        self, instance: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        opened((STOCK, REPLACED), here(instance, "a10"), tmp_path)
        assert own == [["stock", "replaced"]]

    def test_what_is_not_served_gets_a_deployment_even_if_it_wants_nothing(
        self, instance: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        opened((PLAIN, Variant("other", ("a20",))), here(instance, "a10"), tmp_path)
        assert own == [["other"]]


@pytest.mark.usefixtures("own")
class TestOnKubernetes:
    def test_sides_are_launched_under_the_names_they_are_served_by(
        self, on_kubernetes: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        site = here(on_kubernetes, "a10", "a10_warm", "a2k_500m")
        locations, found = opened((PLAIN, STOCK, WARM, LIMITED, REPLACED), site, tmp_path)
        assert locations["warm"] == ("a10_warm",)
        assert locations["half"] == ("a2k_500m",)
        assert locations["plain"] == locations["stock"] == locations["replaced"] == ("a10",)
        assert own == []
        servers = found["replaced"].servers
        assert isinstance(servers, KubernetesServers)
        assert (servers.namespace, servers.service_of("a10")) == ("dagster", "bench-a10")
        assert {found_site.name for found_site in found.values()} == {""}

    def test_what_is_not_served_is_named_as_the_chart_has_it_and_nothing_is_started(
        self, on_kubernetes: dg.DagsterInstance, own: list[list[str]], tmp_path: Path
    ) -> None:
        variants = with_baselines_again((PLAIN, WARM, LIMITED, Variant("other", ("a20", "a30"))))
        with pytest.raises(PreflightError, match="Runs are Kubernetes jobs here") as refused:
            opened(variants, here(on_kubernetes, "a10", "a20"), tmp_path)
        entries = yaml.safe_load("\n".join(line for line in str(refused.value).splitlines() if line.startswith("  -")))
        assert entries == [
            {"name": "a10_warm", "shape": "a10", "warm": True},
            {"name": "a2k_500m", "shape": "a2k", "cpu": "500m"},
            "a30",
        ]
        assert own == []

    def test_a_resumed_side_that_is_not_served_any_more_is_named_by_its_shape(
        self, on_kubernetes: dg.DagsterInstance, tmp_path: Path
    ) -> None:
        with pytest.raises(PreflightError, match="name: a10_warm, shape: a10, warm"):
            opened((Variant("warm", ("a10_warm",), warm=True),), here(on_kubernetes), tmp_path)

    @pytest.mark.parametrize(
        ("variant", "said"),
        [
            (Variant("odd", ("oddly",), warm=True), None),
            (
                Variant("odd", ("oddly_warm",), warm=False),
                "runs of oddly_warm warm\\. .* `warm` of oddly_warm to false",
            ),
            (Variant("odd", ("a20",), warm=True), "runs of a20_warm cold\\. .* `warm` of a20_warm to true"),
        ],
    )
    def test_the_launcher_has_to_know_which_are_warm(
        self, on_kubernetes: dg.DagsterInstance, variant: Variant, said: str | None, tmp_path: Path
    ) -> None:
        site = here(on_kubernetes, "oddly_warm", "a20_warm")
        if said is None:
            opened((variant,), site, tmp_path)
        else:
            with pytest.raises(PreflightError, match=said):
                opened((variant,), site, tmp_path)

    def test_another_dagster_yaml_cannot_be_had(self, on_kubernetes: dg.DagsterInstance, tmp_path: Path) -> None:
        variants = EXPERIMENTS["dequeue-interval"].scenario.variants
        with pytest.raises(PreflightError, match=r"'every 5 s' needs its own settings in dagster\.yaml"):
            opened(variants, here(on_kubernetes, "a10"), tmp_path)


def test_while_an_own_deployment_loads_it_says_what_it_waits_for(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """A deployment that is looked at twice and never ready."""

        def __init__(self, *_: object) -> None:
            pass

        start = stop = mock.Mock()

        def wait_until_loaded(self, _: float, on_progress: Callable[[DeploymentStatus], None]) -> DeploymentStatus:
            for state in (LocationState.LOADING, LocationState.LOADED):
                on_progress(DeploymentStatus((LocationStatus("a10", state),), webserver_up=True, daemon_up=False))
            raise DeploymentError("not ready")

    monkeypatch.setattr(deployments, "Deployment", Slow)
    monkeypatch.setattr(deployments, "spaced", lambda say: say)
    said: list[str] = []
    with (
        pytest.raises(PreflightError, match="cannot be started: not ready"),
        open_sites((STOCK,), here(instance), tmp_path / "experiments" / "run", said.append),
    ):
        pass
    assert said[1:] == ["Still waiting for a10, daemon ...", "Still waiting for daemon ..."]


def test_in_an_own_deployment_a_launch_waits_for_a_code_server_that_is_coming_back(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(dict(OWN_INSTANCE)))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        queue = made.get_concurrency_config().run_queue_config
    assert queue is not None
    assert (queue.max_user_code_failure_retries, queue.user_code_failure_retry_delay) == (10, 1)


@pytest.mark.parametrize("name", ["cpu-limit", "definitions-cache", "cold-start"])
def test_an_experiment_says_the_same_whatever_its_locations_are_called(name: str) -> None:
    sweep = sample_experiment(name)
    renamed = with_served_names(sweep)
    assert {trial.location for trial in renamed.trials} != {trial.location for trial in sweep.trials}
    model = fitted(sized_sweep())
    said, before = evaluate(renamed), evaluate(sweep)
    assert said.comparisons == before.comparisons
    assert [side.name for side in said.sides] == [side.name for side in before.sides]
    assert [side.server_bytes for side in said.sides] == [side.server_bytes for side in before.sides]
    assert comparable_sizes(renamed.plan.variants) == comparable_sizes(sweep.plan.variants)
    assert rank_remedies([said], model, 5_000) == rank_remedies([before], model, 5_000)


def with_served_names(sweep: Sweep) -> Sweep:
    """Return the same sweep, as if its sides had been served by name."""
    sides = {variant.name: variant for variant in sweep.plan.variants}
    trials = tuple(replace(trial, location=served_name(trial.location, sides[trial.variant])) for trial in sweep.trials)
    sizes = {trial.location: trial.asset_count for trial in trials}
    (some, *_) = sweep.plan.locations
    plan = replace(
        sweep.plan,
        variants=tuple(map(deployments._as_served, sweep.plan.variants)),
        locations=tuple(replace(some, name=name, asset_count=size) for name, size in sizes.items()),
    )
    return replace(sweep, plan=plan, trials=trials)
