-- Of one sweep, or of all: those that have launches.
INSERT OR REPLACE INTO contents BY NAME
WITH described AS (
    SELECT sweep_id, plan
    FROM sweeps
    WHERE $sweep_id IS NULL OR sweep_id = $sweep_id
),
launched_in_turn AS (
    SELECT DISTINCT sweep_id, side ->> 'name' AS variant, true AS in_turn
    FROM (SELECT sweep_id, unnest(from_json(plan -> '$.variants', '["JSON"]')) AS side FROM described)
    WHERE side ->> 'in_turn' = 'true'
),
counted AS (
    SELECT
        trials.sweep_id,
        count(*) AS trials,
        count(*) FILTER (ok) AS ok,
        count(*) FILTER (measured) AS measured,
        count(DISTINCT block) FILTER (measured AND in_turn IS NULL) AS blocks,
        count(DISTINCT asset_count) FILTER (partition_count = 0) AS sizes,
        count(DISTINCT partition_count <> 0) AS kinds,
        list_sort(list(DISTINCT location)) AS locations
    FROM trials LEFT JOIN launched_in_turn USING (sweep_id, variant)
    WHERE trials.sweep_id IN (SELECT sweep_id FROM described)
    GROUP BY trials.sweep_id
)
SELECT
    counted.*,
    coalesce(json_array_length(plan, '$.variants'), 0) > 0 AS sides,
    coalesce(plan ->> '$.settings.quick', 'false') = 'false' AS full_size,
    coalesce(json_array_length(plan, '$.settings.only'), 0) = 0 AS all_sides
FROM counted JOIN described USING (sweep_id);
