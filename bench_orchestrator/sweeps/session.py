"""The stages of a sweep: check, wait for its turn, open deployments, plan, settle, record, launch.

Runs in the process of the sweep's own run, independent of jobs and ops: it yields the entries to record.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dagster import DagsterInstance

from bench_orchestrator.analysis.lag_model import comparable_sizes, predict_startups
from bench_orchestrator.model.errors import PreflightError, UnusableError, one_line
from bench_orchestrator.model.instants import describe_us, now_us
from bench_orchestrator.model.launch import Outcome, Sweep, TrialNote
from bench_orchestrator.model.plan import PlannedTrial, Prediction, Scenario, SweepPlan, Variant
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.model.text import legible, path_segment
from bench_orchestrator.sources.instance import find_runs, get_run, read_run_log
from bench_orchestrator.sources.processes import UsageMeter, settle
from bench_orchestrator.sweeps.config import SweepConfig
from bench_orchestrator.sweeps.deployments import Site, open_sites
from bench_orchestrator.sweeps.ending import Strays
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.environment import blocking_limit, describe_environment
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.planning import plan_more, plan_sweep, planned_variants
from bench_orchestrator.sweeps.resuming import find_resumable, missing_trials
from bench_orchestrator.sweeps.runner import Pace, SweepAbortedError, run_trials
from bench_orchestrator.sweeps.turns import await_harvests
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import Webserver, WebserverError, WebserverUnreachableError

SWEEP_POOL = "bench_sweep"
"""With a limit of 1, a second sweep stays queued while one runs."""

_SENSOR_PATIENCE_S = 90.0
_SERVER_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Session:
    """The run of a sweep, and what it works with."""

    run_id: str
    run_tags: Mapping[str, str]
    instance: DagsterInstance
    webserver: Webserver
    history: Callable[[], Iterable[Sweep]]
    """Returns earlier sweeps, the basis of predictions. May raise UnusableError."""
    say: Callable[[str], None]
    warn: Callable[[str], None]

    @property
    def home(self) -> Path:
        """The folder of the instance."""
        return Path(self.instance.root_directory)


@dataclass(frozen=True)
class TrialEntry:
    """A finished trial: the sweep's note, and its log line."""

    note: TrialNote
    line: str


def carry_out(scenario: Scenario, config: SweepConfig, session: Session) -> Generator[SweepPlan | TrialEntry]:
    """Run a sweep from the first check to the last trial; yield the entries to record, immediately and in order.

    Raises:
        PreflightError: nothing was launched; the message states why and what to do.
        SweepAbortedError: the sweep ended early; the message states how far it got.
    """
    with ExitStack() as stack:
        try:
            _refuse_second_start(session)
            _refuse_second_sweep(session)
            # Before deployments are started, whose code servers' start is measured.
            await_harvests(session.instance, session.run_id, session.say)
            earlier = _earlier(scenario, config, session)
            variants = planned_variants(earlier.plan) if earlier else config.variants(scenario)
            _await_servers({name for variant in variants for name in variant.locations}, session)
            variants, sites = stack.enter_context(_open(scenario, variants, session))
            if earlier:
                plan, trials = _resume(earlier, config.more, sites, session)
            else:
                plan = _plan(scenario, config, variants, sites, session)
                trials = plan.trials
            _refuse_limits(plan, session)
        except (PreflightError, WebserverError) as error:
            raise PreflightError(f"Nothing was launched. {error}") from error
        used = {site.name: site for site in sites.values()}
        if earlier:  # runs of its killed process may be in progress, and keep the servers busy
            Strays(plan, tuple(used.values()), session.warn).end()
        # Before the plan is recorded, because afterwards `bench run` shows only trials.
        settle([site.meter for site in used.values()], config.settle_s, session.say)
        await_harvests(session.instance, session.run_id, session.say)  # one may have begun meanwhile
        session.say(f"Sweep {plan.sweep_id}: {len(trials)} trials in {len(plan.locations)} locations, seed {plan.seed}")
        yield plan
        yield from _launch(plan, trials, used, session)


def _refuse_second_start(session: Session) -> None:
    """Refuse a run that the same start has made again, because its first request was not answered."""
    start = session.run_tags.get(Tag.START)
    made = find_runs(session.instance, {Tag.START: start}) if start else []
    own = next((run for run in made if run.run_id == session.run_id), None)
    if own is None or own.reexecuted:  # a person executes a sweep's run again
        return
    first = next(run for run in made if run is own or run.status is not RunStatus.CANCELED)
    if first is not own:
        raise PreflightError(f"The same start has made the run {first.run_id}, which is the sweep.")


def _refuse_second_sweep(session: Session) -> None:
    """Refuse a second sweep in deployments where the pool has no limit that would queue it."""
    own = get_run(session.instance, session.run_id)
    others = find_runs(session.instance, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS)
    for other in others:
        if own and (other.created_us, other.run_id) < (own.created_us, own.run_id):
            raise PreflightError(
                f"The sweep of run {other.run_id} is still running, and two at a time would disturb each other. "
                f"Wait for it. To queue sweeps instead, give the pool {SWEEP_POOL!r} a limit of 1: "
                f"dagster instance concurrency set {SWEEP_POOL} 1"
            )


def _await_servers(names: Set[str], session: Session) -> None:
    """Wait for code servers that are being started or replaced. Preflight judges what is not loaded afterwards."""

    def look() -> list[str]:
        """Return what is waited for."""
        try:
            locations = session.webserver.list_locations()
        except WebserverUnreachableError:
            return ["the webserver"]
        return sorted(name for name in names & locations.keys() if locations[name].away)

    away = look()
    if away:
        session.say(f"Waiting for {', '.join(away)}, which may be restarting ...")
        poll(look, lambda away: not away, patience_s=_SERVER_PATIENCE_S, every_s=1)


def _refuse_limits(plan: SweepPlan, session: Session) -> None:
    """Check the run limits: a trial in the sweep's deployment needs a second slot, one in a temporary deployment none.

    Raises:
        PreflightError: the limits do not let both run.
    """
    for trial in plan.trials:
        if not trial.deployment:
            blocked = blocking_limit(session.instance, dict(session.run_tags), trial_tags(plan, trial, 0))
            if blocked:
                raise PreflightError(f"The run limits do not let the sweep and a trial run together: {blocked}")
            return


@contextmanager
def _open(
    scenario: Scenario, variants: tuple[Variant, ...], session: Session
) -> Iterator[tuple[tuple[Variant, ...], Mapping[str, Site]]]:
    """Yield the variants and the deployment of each; an experiment's temporary deployments end with the block."""
    here = Site(
        "", session.webserver, session.instance, UsageMeter(session.home), describe_environment(session.instance)
    )
    if not scenario.variants:
        yield variants, {variant.name: here for variant in variants}
        return
    directory = session.home / ".bench" / "experiments" / path_segment(session.run_id)
    with open_sites(variants, here, directory, session.say) as opened:
        yield opened


def _plan(
    scenario: Scenario,
    config: SweepConfig,
    variants: Sequence[Variant],
    sites: Mapping[str, Site],
    session: Session,
) -> SweepPlan:
    settings = config.model_dump(exclude={"seed", "resume", "more"})
    plan = plan_sweep(
        f"{scenario.name}-{session.run_id[:8]}",
        scenario,
        variants,
        sites,
        repeats=config.repeats,
        warmups=config.warmups,
        seed=now_us() % 1_000_000 if config.seed is None else config.seed,
        settings=settings,
        only=settings.get("assets", ()),
        # In a new deployment, sensors may still be adding dynamic partitions.
        patience_s=_SENSOR_PATIENCE_S if any(site.name for site in sites.values()) else 0,
        say=session.say,
    )
    return replace(plan, predicted_startups_s=_predict(plan, session))


def _predict(plan: SweepPlan, session: Session) -> dict[str, Prediction]:
    """Predict the startup times of an experiment's sides from earlier sweeps, before any of them is launched."""
    sizes = comparable_sizes(plan.variants)
    if len(set(sizes.values())) < 2:  # all sides have the same size, so there is nothing to predict
        return {}
    try:
        return predict_startups(session.history(), sizes)
    except UnusableError as error:
        session.warn(f"No predictions: {error}")
        return {}


def _earlier(scenario: Scenario, config: SweepConfig, session: Session) -> Sweep | None:
    """Return the sweep to resume; None for a new one.

    Raises:
        PreflightError: it cannot be resumed, or its journal cannot be read.
    """
    if config.resume is None:
        if config.more:
            raise PreflightError("`more` adds blocks to an earlier sweep. Name it in `resume`.")
        return None
    try:
        return find_resumable(
            session.instance, scenario.name, config.resume, complete_too=config.more > 0, warn=session.warn
        )
    except JournalError as error:
        raise PreflightError(str(error)) from error


def _resume(
    earlier: Sweep, more: int, sites: Mapping[str, Site], session: Session
) -> tuple[SweepPlan, tuple[PlannedTrial, ...]]:
    """Return the plan of an earlier sweep and the trials to launch: its remaining ones, then `more` measured blocks.

    Warns about changes in the environment.

    Raises:
        PreflightError: its trials cannot be launched in the same deployments as before.
    """
    plan = earlier.plan
    here = {site.name for site in sites.values()}
    if not here.issuperset(trial.deployment for trial in plan.trials):
        raise PreflightError(
            f"The sweep {plan.sweep_id} started temporary deployments for locations that this deployment now serves. "
            "Resume it in a deployment that does not serve them."
        )
    now = describe_environment(session.instance)
    for name in ("dagster", "python", "bench", "cpu_model", "cpu_count"):
        if (was := plan.environment.get(name)) != now[name]:
            session.warn(f"{name} was {was} when this sweep began and is {now[name]} now.")
    extended = plan_more(plan, sites, more, session.say) if more else plan
    owed = missing_trials(earlier) | {trial.number for trial in extended.trials[len(plan.trials) :]}
    return extended, tuple(trial for trial in extended.trials if trial.number in owed)


def _launch(
    plan: SweepPlan, trials: Sequence[PlannedTrial], sites: Mapping[str, Site], session: Session
) -> Iterator[TrialEntry]:
    counts = dict.fromkeys(Outcome, 0)
    knobs = plan.settings
    pace = Pace(knobs["timeout_s"], knobs["pause_s"], knobs["jitter_s"])

    def summary(how: str) -> str:
        """Return the last line of the sweep's log."""
        ended = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "none"
        return f"Sweep {plan.sweep_id} {how}: {sum(counts.values())} of {len(trials)} trials done ({ended})"

    try:
        for note in run_trials(plan, sites, pace=pace, trials=trials, warn=session.warn):
            counts[note.outcome] += 1
            line = trial_line(sites[plan.trials[note.number - 1].deployment], plan, note)
            (session.say if note.outcome is Outcome.OK else session.warn)(line)
            yield TrialEntry(note, line)
    except SweepAbortedError as error:
        raise SweepAbortedError(f"{summary('is over')}. It ended early: {error}") from error
    except Exception:
        raise
    except BaseException:  # Dagster interrupts a run at any point: during a trial or between two
        session.warn(summary("was canceled"))
        raise
    session.say(summary("is over"))


def trial_line(site: Site, plan: SweepPlan, note: TrialNote) -> str:
    """Return a line of the sweep's log: the trial, its outcome, and what the run's record has of its times.

    The stages are computed from the run's log, by the harvest alone.
    """
    trial = plan.trials[note.number - 1]
    kind = "warm-up" if trial.warmup else f"block {trial.block}"
    side = f"{trial.variant}, " if plan.variants else ""
    line = f"trial {note.number}/{len(plan.trials)} {side}{trial.location} ({kind}): {note.outcome}"
    run = get_run(site.instance, note.run_id) if note.run_id else None
    if run is None or note.outcome is not Outcome.OK:
        log = None if note.reason else note.log or (read_run_log(site.instance, run.run_id) if run else None)
        reason = one_line(log.failure) if log else note.reason
        return legible(f"{line}, {reason}") if reason else line
    if note.requested_us is None or run.started_us is None:
        return line
    started, ended = (describe_us(us - note.requested_us, decimals=2) for us in (run.started_us, run.updated_us))
    return "; ".join((f"{line}, its run started after {started} and ended after {ended}", *note.warnings))
