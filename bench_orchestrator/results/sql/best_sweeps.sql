-- The most informative sweep of each experiment: complete, full size, all sides, most blocks, latest.
WITH candidates AS (
    SELECT sweep_id, scenario, created_us, status, plan
    FROM sweeps
    WHERE list_contains($scenarios::VARCHAR[], scenario) AND json_array_length(plan, '$.variants') > 0
),
launched_in_turn AS (
    SELECT sweep_id, side ->> 'name' AS variant
    FROM (SELECT sweep_id, unnest(from_json(plan -> '$.variants', '["JSON"]')) AS side FROM candidates)
    WHERE side ->> 'in_turn' = 'true'
),
measured AS (
    SELECT trials.sweep_id, count(DISTINCT trials.block) FILTER (trials.measured) AS blocks
    FROM candidates JOIN trials USING (sweep_id) ANTI JOIN launched_in_turn USING (sweep_id, variant)
    GROUP BY trials.sweep_id
)
SELECT scenario, sweep_id
FROM candidates LEFT JOIN measured USING (sweep_id)
WHERE EXISTS (FROM launches WHERE launches.sweep_id = candidates.sweep_id)
QUALIFY 1 = row_number() OVER (
    PARTITION BY scenario
    ORDER BY
        status = 'complete' DESC,
        coalesce(plan ->> '$.settings.quick', 'false') = 'false' DESC,
        coalesce(json_array_length(plan, '$.settings.only'), 0) = 0 DESC,
        coalesce(blocks, 0) DESC,
        created_us DESC,
        sweep_id
);
