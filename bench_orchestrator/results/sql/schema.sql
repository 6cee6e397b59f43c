-- The results database. Derived from Dagster's event log by the harvest: it can be deleted and harvested again.
CREATE TABLE IF NOT EXISTS sweeps (
    sweep_id    VARCHAR PRIMARY KEY,
    scenario    VARCHAR NOT NULL,
    created_us  BIGINT NOT NULL,
    status      VARCHAR NOT NULL,  -- complete, canceled, failed
    environment JSON NOT NULL,
    plan        JSON NOT NULL      -- the whole SweepPlan, every trial in order
);

-- One row per planned trial. Instants (_at_us) and durations (_us) are integer microseconds, so sums are exact.
CREATE TABLE IF NOT EXISTS launches (
    sweep_id VARCHAR NOT NULL,
    trial BIGINT NOT NULL,
    scenario VARCHAR NOT NULL,
    variant VARCHAR NOT NULL,
    location VARCHAR NOT NULL,
    asset_count BIGINT NOT NULL,
    partition_count BIGINT NOT NULL,
    block BIGINT NOT NULL,
    warmup BOOLEAN NOT NULL,
    asset_key VARCHAR NOT NULL,
    partition_key VARCHAR,
    outcome VARCHAR NOT NULL,      -- ok, rejected, failed, canceled, timed_out, lost
    reason VARCHAR NOT NULL,
    run_id VARCHAR,
    executor VARCHAR,              -- multiprocess, pods, in_process
    requested_at_us BIGINT,
    created_at_us BIGINT,
    enqueued_at_us BIGINT,
    starting_at_us BIGINT,
    worker_started_at_us BIGINT,
    run_started_at_us BIGINT,
    step_worker_starting_at_us BIGINT,
    step_worker_started_at_us BIGINT,
    resource_init_started_at_us BIGINT,
    step_started_at_us BIGINT,
    ended_us BIGINT,
    submit_us BIGINT,
    plan_events_us BIGINT,
    queue_wait_us BIGINT,
    worker_boot_us BIGINT,
    worker_load_us BIGINT,
    executor_start_us BIGINT,
    step_boot_us BIGINT,
    step_load_us BIGINT,
    step_init_us BIGINT,
    queue_us BIGINT,
    init_us BIGINT,
    lag_us BIGINT,
    time_to_code_us BIGINT,
    warnings JSON NOT NULL,
    step_process JSON NOT NULL,    -- what the asset reported of its own process
    deployment VARCHAR NOT NULL,   -- empty: the one that the sweep ran in
    path VARCHAR NOT NULL,         -- graphql, schedule, sensor, backfill
    assets BIGINT NOT NULL,        -- how many were selected
    work BIGINT NOT NULL,          -- units of work materialized
    materialized_us BIGINT,        -- when the last asset was
    work_us BIGINT,                -- from the request until then
    steps JSON NOT NULL,           -- when each was launched, started and ended
    usage JSON NOT NULL,           -- CPU and memory of the deployment's processes
    template JSON NOT NULL,        -- what a warm run was forked from
    boot JSON NOT NULL,            -- the pieces of worker boot on Kubernetes, in microseconds
    pod JSON,                      -- what Kubernetes said of the run worker's pod
    PRIMARY KEY (sweep_id, trial)
);

-- What people query: every launch with the environment it was measured in.
CREATE OR REPLACE VIEW launch_measurements AS
SELECT launches.*, sweeps.status AS sweep_status, sweeps.created_us AS sweep_created_us, sweeps.environment
FROM launches JOIN sweeps USING (sweep_id);
