SELECT DISTINCT run_id, sweep_id FROM launches WHERE starts_with(run_id, $prefix) ORDER BY run_id;
