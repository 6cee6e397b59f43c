-- Of these sweeps; those without launches are left out. Plans are long: no join carries them.
INSERT OR REPLACE INTO contents BY NAME
WITH described AS MATERIALIZED (
    SELECT
        sweep_id,
        plan -> '$.variants' AS variants,
        plan -> '$.locations' AS places,
        coalesce(json_array_length(plan, '$.variants'), 0) > 0 AS sides,
        coalesce(plan ->> '$.settings.quick', 'false') = 'false' AS full_size,
        coalesce(json_array_length(plan, '$.settings.only'), 0) = 0 AS all_sides
    FROM sweeps
    WHERE list_contains($sweep_ids::VARCHAR[], sweep_id)
),
launched_in_turn AS (
    SELECT DISTINCT sweep_id, side ->> 'name' AS variant, true AS in_turn
    FROM (SELECT sweep_id, unnest(from_json(variants, '["JSON"]')) AS side FROM described)
    WHERE side ->> 'in_turn' = 'true'
),
served AS (
    SELECT sweep_id, map(list(place ->> 'name'), list(place ->> 'server_id')) AS servers
    FROM (SELECT sweep_id, unnest(from_json(places, '["JSON"]')) AS place FROM described)
    WHERE place ->> 'server_id' <> '' AND coalesce(place ->> 'deployment', '') = ''
    GROUP BY sweep_id
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
SELECT counted.*, sides, full_size, all_sides, servers
FROM counted JOIN described USING (sweep_id) LEFT JOIN served USING (sweep_id);
