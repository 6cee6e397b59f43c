SELECT
    sweeps.sweep_id,
    sweeps.scenario,
    sweeps.created_us,
    sweeps.status,
    count(*) AS trials,
    count(*) FILTER (trials.ok) AS ok,
    list_sort(list(DISTINCT trials.location)) AS locations
FROM sweeps JOIN trials USING (sweep_id)
WHERE $sweep_ids IS NULL OR list_contains($sweep_ids::VARCHAR[], sweeps.sweep_id)
GROUP BY ALL
ORDER BY sweeps.created_us DESC, sweeps.sweep_id;
