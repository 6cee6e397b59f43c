-- What people query: every launch with the environment it was measured in.
CREATE OR REPLACE VIEW launch_measurements AS
SELECT launches.*, sweeps.status AS sweep_status, sweeps.created_us AS sweep_created_us, sweeps.environment
FROM launches JOIN sweeps USING (sweep_id);

-- What became of each trial: it ended well if all its launches did.
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
