-- The results database of a new file. `rows.COLUMNS` declares the columns of `launches`.
CREATE TABLE sweeps (
    sweep_id    VARCHAR PRIMARY KEY,
    scenario    VARCHAR NOT NULL,
    created_us  BIGINT NOT NULL,
    status      VARCHAR NOT NULL,  -- complete, canceled, failed
    environment JSON NOT NULL,
    plan        JSON NOT NULL      -- the whole SweepPlan, every trial in order
);

-- One row per launch; a trial without a launch has a row as well, with the reason.
CREATE TABLE launches (
    {columns},
    launch BIGINT NOT NULL,        -- its position in its trial, from 1
    PRIMARY KEY (sweep_id, trial, launch)
);

-- One row per observed run of any code location. `rows.OBSERVED_COLUMNS` declares the columns.
CREATE TABLE observed_launches (
    {observed_columns},
    PRIMARY KEY (run_id)
);

-- How far the runs of each Dagster instance have been observed.
CREATE TABLE observation_progress (
    instance  VARCHAR PRIMARY KEY,
    until_us  BIGINT NOT NULL,     -- finished runs that last changed before are observed, unless written late
    newest_id BIGINT,              -- the id in Dagster's storage up to which deleted runs are counted
    deleted   BIGINT NOT NULL      -- runs that were deleted before they were observed
);

-- What was looked at of late, also if it was left out: a run that is written late is told from it.
CREATE TABLE observed_recently (
    instance   VARCHAR NOT NULL,
    run_id     VARCHAR NOT NULL,
    updated_us BIGINT NOT NULL
);
