-- A point for each sweep in a location as it is: the medians of the launches that count, and the circumstances.
-- Of the locations with the most sweeps, the latest sweeps of each; by location, in order of time.
WITH ranked AS (
    SELECT
        *,
        count(*) OVER (PARTITION BY location) AS sweeps_in_it,
        row_number() OVER (PARTITION BY location ORDER BY created_us DESC, sweep_id) AS age
    FROM visits
    WHERE created_us >= $since_us
),
chosen AS (
    SELECT sweep_id, location, server
    FROM ranked
    WHERE age <= $most_points
    QUALIFY dense_rank() OVER (ORDER BY sweeps_in_it DESC, location) <= $most_locations
),
points AS (
    SELECT
        location,
        sweep_id,
        min(asset_count) AS assets,
        min(partition_count) AS partitions,
        min(executor) AS executor,
        min(server) AS server,
        median(lag_us) AS lag_us,
        median(lag_us - queue_wait_us) AS startup_us,
        median(queue_wait_us) AS queue_wait_us,
        median(worker_boot_us) AS worker_boot_us,
        median(worker_load_us) AS worker_load_us,
        median(executor_start_us) AS executor_start_us,
        median(step_boot_us) AS step_boot_us,
        median(step_load_us) AS step_load_us,
        median(step_init_us) AS step_init_us
    FROM launches JOIN chosen USING (sweep_id, location)
    WHERE outcome = 'ok' AND NOT warmup AND deployment = '' AND lag_us IS NOT NULL
    GROUP BY location, sweep_id
)
SELECT
    location,
    sweep_id,
    created_us,
    scenario,
    json_extract_string(environment, [
        '$.dagster', '$.bench', '$.python', '$.platform', '$.cpu_model', '$.cpu_count', '$.launcher', '$.coordinator',
        '$.storage', '$.dequeue_interval_s', '$.max_concurrent_runs'
    ]) AS environment,
    points.* EXCLUDE (location, sweep_id)
FROM points JOIN sweeps USING (sweep_id)
ORDER BY location, created_us, sweep_id;
