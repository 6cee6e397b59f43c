"""What does the warm code server save and cost, side by side with Dagster's own?

    python -m benchmarks.warm_server --output docs/results/warm-server    # 20 minutes at most on 2 idle CPUs

Both servers run at the same time in separate deployments. Every figure is measured in blocks: each block measures both
servers once, in random order, and gives one sample of each. The warm side always has dagster-warm's run launcher.

- `launch`: RUN_STARTING to STEP_START, and request to STEP_START, of one asset with the multiprocess executor, at
  10,000 assets and at 10. Stock has Dagster's own settings, warm no queue. The warm sample is the median of four
  launches in the block: they are so short that background load matters more.
- `steps`: RUN_STARTING to the end of the run, of six serial steps that do nothing, at 2,004 assets; no queue.
- `light`: the same, of 40 serial steps that do nothing, at 40 assets.
- `throughput`: from the first request until eight runs, submitted at once, have ended, at 2,000 assets. Both dequeue
  every second, with threads.
- `memory`: proportional set size of a run's processes, the mean of eight runs that wait in their steps, at 10,000
  assets.
- `load`: from the start of the server until it answers, at 10,000 assets; for the warm one, with its template prepared.

Exits with 1 if an interval lies entirely beyond its limit.
"""
