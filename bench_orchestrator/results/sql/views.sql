-- The view for user queries: every launch with its environment.
CREATE OR REPLACE VIEW launch_measurements AS
SELECT launches.*, sweeps.status AS sweep_status, sweeps.created_us AS sweep_created_us, sweeps.environment
FROM launches JOIN sweeps USING (sweep_id);

-- The outcome of each trial: ok if all its launches are ok.
CREATE OR REPLACE VIEW trials AS
SELECT
    sweep_id,
    trial,
    any_value(location) AS location,
    any_value(variant) AS variant,
    any_value(block) AS block,
    any_value(asset_count) AS asset_count,
    any_value(partition_count) AS partition_count,
    bool_and(outcome = 'ok') AS ok,
    bool_and(outcome = 'ok' AND NOT warmup) AS measured
FROM launches
GROUP BY sweep_id, trial;
