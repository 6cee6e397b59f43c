"""What is left out of a Gantt chart of many rows."""

from itertools import pairwise

from gantt_samples import by_batch, run_of_batches
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.waterfall.gantt import Gantt, Unit, lines, remarks, thin_out
from bench_orchestrator.waterfall.gantt_layout import step_panel


@given(st.integers(0, 200), st.integers(1, 50))
def test_rows_are_left_out_evenly(count: int, most: int) -> None:
    kept = thin_out(range(count), most)
    assert len(kept) == min(count, most)
    assert list(kept) == sorted(set(kept))
    if count:
        assert kept[0] == 0
        assert kept[-1] == count - 1 or most == 1
    if len(kept) > 1:
        gaps = [after - before for before, after in pairwise(kept)]
        assert max(gaps) - min(gaps) <= 1


def test_the_steps_of_a_batch_share_a_line() -> None:
    run = run_of_batches(5, 2, by_batch)
    panel = step_panel(run, by_batch=True)
    drawn = lines(panel.rows)
    assert [{row.batch for row in line} for line in drawn] == [{f"batch_{number}"} for number in range(5)]
    assert sum(map(len, drawn)) == len(panel.rows) == len(run.launch.steps)
    for line in drawn:
        assert all(before.end_us <= after.start_us for before, after in pairwise(line))
    shown = Gantt(Unit.STEPS, (panel,))
    of_all = "The counts above the rows have all of them."
    assert f"Rows left out, evenly: 3 of 5. {of_all}" in remarks(shown, 2, by_line=True)
    assert f"Rows left out, evenly: {len(panel.rows) - 2} of {len(panel.rows)}. {of_all}" in remarks(shown, 2)


def test_other_steps_have_lines_of_their_own() -> None:
    panel = step_panel(run_of_batches(3, 2, by_batch))
    assert lines(panel.rows) == [[row] for row in panel.rows]
