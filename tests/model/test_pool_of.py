"""A pool is put together from what its storage tells: who holds its slots, who waits, and in which order."""

from bench_orchestrator.model.run_queue import Holder, PendingStep, pool_of


def test_who_waits_is_in_the_order_of_priority_and_then_of_time() -> None:
    pending = [
        PendingStep("r1", "late", asked_us=30, given_us=None, priority=0),
        PendingStep("r2", "early", asked_us=10, given_us=None, priority=0),
        PendingStep("r3", "urgent", asked_us=40, given_us=None, priority=1),
        PendingStep("r4", "given", asked_us=20, given_us=25, priority=0),
    ]
    pool = pool_of("db", 2, [("r5", "taken")], pending, {"r4": Holder("r4", "nightly")})
    assert pool.waiting == (("r3", "urgent"), ("r2", "early"), ("r1", "late"))
    assert {(claim.run_id, claim.step, claim.since_us, claim.job) for claim in pool.claims} == {
        ("r4", "given", 25, "nightly"),
        ("r5", "taken", None, ""),
    }
    assert pool.asked == 4
