-- The latest sweeps of each scenario, latest first.
SELECT sweep_id
FROM sweeps
WHERE list_contains($scenarios::VARCHAR[], scenario)
AND EXISTS (FROM launches WHERE launches.sweep_id = sweeps.sweep_id)
QUALIFY row_number() OVER (PARTITION BY scenario ORDER BY created_us DESC, sweep_id) <= $most
ORDER BY created_us DESC, sweep_id;
