-- Of each experiment the sweep that says most: complete, at full size, with all sides, with the most blocks, the latest.
SELECT scenario, sweep_id
FROM sweeps JOIN contents USING (sweep_id)
WHERE sides AND list_contains($scenarios::VARCHAR[], scenario)
QUALIFY 1 = row_number() OVER (
    PARTITION BY scenario
    ORDER BY status = 'complete' DESC, full_size DESC, all_sides DESC, blocks DESC, created_us DESC, sweep_id
);
