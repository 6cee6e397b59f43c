-- To version 4: finished runs of any location are observed. (The code servers of a sweep's locations are derived.)
CREATE TABLE observed_launches (
    run_id VARCHAR,
    location VARCHAR NOT NULL,
    job VARCHAR NOT NULL,
    partition_key VARCHAR,
    updated_us BIGINT NOT NULL,
    origin VARCHAR NOT NULL,
    run_worker VARCHAR,
    outcome VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    executor VARCHAR,
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
    template JSON NOT NULL,
    boot JSON NOT NULL,
    PRIMARY KEY (run_id)
);
CREATE TABLE observation_progress (
    instance  VARCHAR PRIMARY KEY,
    until_us  BIGINT NOT NULL,
    newest_id BIGINT,
    deleted   BIGINT NOT NULL
);
CREATE TABLE observed_recently (
    instance   VARCHAR NOT NULL,
    run_id     VARCHAR NOT NULL,
    updated_us BIGINT NOT NULL
);
