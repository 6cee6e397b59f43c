INSERT OR REPLACE INTO sweeps BY NAME
SELECT
    $sweep_id AS sweep_id,
    $scenario AS scenario,
    $created_us AS created_us,
    $status AS status,
    $environment::JSON AS environment,
    $plan::JSON AS plan;
