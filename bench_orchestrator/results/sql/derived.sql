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

-- What each sweep holds, so that choosing one reads neither the launches nor the plans of all: `describe_contents.sql`.
CREATE OR REPLACE TABLE contents (
    sweep_id  VARCHAR PRIMARY KEY,
    sides     BOOLEAN NOT NULL,    -- it compares the sides of an experiment
    full_size BOOLEAN NOT NULL,    -- not the reduced size of --quick
    all_sides BOOLEAN NOT NULL,    -- not only some, as by --only
    trials    BIGINT NOT NULL,
    ok        BIGINT NOT NULL,
    measured  BIGINT NOT NULL,
    blocks    BIGINT NOT NULL,     -- those with a measured trial that is not launched in turn
    sizes     BIGINT NOT NULL,     -- different numbers of assets in locations without partitions
    kinds     BIGINT NOT NULL,     -- 2: locations with partitions and without
    locations VARCHAR[] NOT NULL
);
