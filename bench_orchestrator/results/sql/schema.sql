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
