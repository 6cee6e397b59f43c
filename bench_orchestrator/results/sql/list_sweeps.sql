SELECT
    sweeps.sweep_id,
    sweeps.scenario,
    sweeps.created_us,
    sweeps.status,
    count(*) AS trials,
    count(*) FILTER (launches.outcome = 'ok') AS ok,
    list_sort(list(DISTINCT launches.location)) AS locations
FROM sweeps JOIN launches USING (sweep_id)
GROUP BY ALL
ORDER BY sweeps.created_us DESC, sweeps.sweep_id;
