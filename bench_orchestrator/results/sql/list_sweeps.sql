SELECT sweep_id, scenario, created_us, status, trials, ok, locations
FROM sweeps JOIN contents USING (sweep_id)
WHERE $sweep_ids IS NULL OR list_contains($sweep_ids::VARCHAR[], sweep_id)
ORDER BY created_us DESC, sweep_id;
