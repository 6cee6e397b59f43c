"""A run's tags are text from outside: whatever they hold, the run has a usable request or none."""

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from bench_orchestrator.model.instants import LATEST_US, MICROSECONDS
from bench_orchestrator.model.runs import Request, Run, RunStatus
from bench_orchestrator.model.stages import Origin
from bench_orchestrator.model.tags import COPYING_TAGS, SCHEDULED_TIME_TAG, TICK_TAG, Tag

NUMBERS = st.integers(-(10**20), 10**20).map(str)
TIMES = st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)
TAGS = st.dictionaries(
    st.sampled_from([Tag.REQUESTED_AT, SCHEDULED_TIME_TAG, TICK_TAG, *sorted(COPYING_TAGS)]),
    st.text(max_size=20) | NUMBERS | TIMES,
)


def run_with(tags: dict[str, str]) -> Run:
    return Run("4f2a", RunStatus.SUCCESS, "nothing", tags, created_us=0, updated_us=0)


@given(TAGS)
@example({SCHEDULED_TIME_TAG: "0001-01-01T00:00:00+23:59"})
@example({SCHEDULED_TIME_TAG: "9999-12-31T23:59:59-23:59"})
@example({Tag.REQUESTED_AT: "²"})
def test_any_tags_give_a_request_or_none(tags: dict[str, str]) -> None:
    run = run_with(tags)
    if run.reexecuted:
        assert (run.request, run.requested_us) == (None, None)
    if run.requested_us is not None:
        assert 0 <= run.requested_us <= LATEST_US
        assert run.request == Request(run.requested_us, Origin.REQUEST)


@given(st.datetimes(timezones=st.timezones()))
def test_a_scheduled_time_is_exact_in_any_time_zone(moment: datetime) -> None:
    request = run_with({SCHEDULED_TIME_TAG: moment.isoformat()}).request
    assert request is not None
    assert request.origin is Origin.SCHEDULE
    since = datetime.fromisoformat(moment.isoformat()) - datetime(1970, 1, 1, tzinfo=UTC)
    assert request.at_us == (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
