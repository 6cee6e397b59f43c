"""What is left out of a Gantt chart of many rows."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.waterfall.gantt import thin_out


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
