"""How long does it take from the click to the first line of your code, with and without what dagster-warm replaces?

    python -m benchmarks.click_to_code --output benchmarks/results/click_to_code    # 15 minutes on 2 idle CPUs

Four deployments of the same code location run at the same time. Each block launches one asset in each of them, in
random order, by the request of the UI's button and at a random phase of the daemon's interval. Warm-ups are not
counted. The figure is request → STEP_START, and of that the wait in the queue.

- `default`: Dagster as it comes, with its code server and its queue.
- `warm`: the warm code server and run launcher behind the same queue.
- `prompt`: the same behind the queue that answers at once. A limit of all runs, two of the run's tag and one of the
  asset's pool are in force, none of them full.
- `prompt_stock`: Dagster's code server behind that queue, with these limits.

Exits with 1 if an interval lies entirely beyond its limit.
"""
