-- The most informative sweep of each experiment: complete, full size, all sides, most blocks, latest.
SELECT sweep_id
FROM sweeps JOIN contents USING (sweep_id)
WHERE sides AND list_contains($scenarios::VARCHAR[], scenario)
QUALIFY 1 = row_number() OVER (
    PARTITION BY scenario
    ORDER BY status = 'complete' DESC, full_size DESC, all_sides DESC, blocks DESC, created_us DESC, sweep_id
);
