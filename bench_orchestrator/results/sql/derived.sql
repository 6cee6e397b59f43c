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

-- The contents of each sweep, filled by `describe_contents.sql`, so that a choice reads neither all launches nor plans.
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
    locations VARCHAR[] NOT NULL,
    servers   MAP(VARCHAR, VARCHAR)  -- the ids of the code servers, by location, where they are known
);

-- Each sweep in each of its locations as it is, behind its code server; without the sweeps that compare sides.
CREATE OR REPLACE VIEW visits AS
SELECT sweep_id, created_us, location, map_extract(servers, location)[1] AS server
FROM (
    SELECT sweep_id, created_us, unnest(locations) AS location, servers
    FROM sweeps JOIN contents USING (sweep_id)
    WHERE NOT sides AND measured > 0
);
