-- The latest sweep that satisfies the condition; those of one scenario come last.
SELECT sweep_id
FROM (
    SELECT
        sweeps.sweep_id,
        sweeps.scenario,
        sweeps.created_us,
        coalesce(json_array_length(sweeps.plan, '$.variants'), 0) > 0 AS sides,
        count(DISTINCT trials.asset_count) FILTER (trials.partition_count = 0) AS sizes,
        count(DISTINCT trials.partition_count <> 0) AS kinds,
        count(*) FILTER (trials.measured) AS measured
    FROM sweeps JOIN trials USING (sweep_id)
    GROUP BY sweeps.sweep_id, sweeps.scenario, sweeps.created_us, sweeps.plan
)
WHERE ($with_experiments OR NOT sides)
AND CASE $content
    WHEN 'trials' THEN true
    WHEN 'locations' THEN NOT sides
    WHEN 'sizes' THEN NOT sides AND sizes > 1
    WHEN 'both_kinds' THEN NOT sides AND kinds > 1
    WHEN 'sides' THEN sides
    WHEN 'measurements' THEN measured > 0
END
ORDER BY scenario = $last, created_us DESC, sweep_id
LIMIT 1;
