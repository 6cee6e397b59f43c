SELECT DISTINCT run_id, sweep_id FROM launches WHERE starts_with(run_id, ?) ORDER BY run_id;
