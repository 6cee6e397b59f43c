-- The latest sweeps of each scenario, latest first.
SELECT sweep_id
FROM sweeps JOIN contents USING (sweep_id)
WHERE list_contains($scenarios::VARCHAR[], scenario)
QUALIFY row_number() OVER (PARTITION BY scenario ORDER BY created_us DESC, sweep_id) <= $most
ORDER BY created_us DESC, sweep_id;
