-- The startup times of the latest launches in a location as it is, behind its present code server and the one before.
-- By location, in order of the servers' first sweeps; in seconds.
WITH latest AS (
    SELECT location, server, min(created_us) AS first_us
    FROM visits
    WHERE server IS NOT NULL AND created_us >= $since_us
    GROUP BY location, server
    QUALIFY row_number() OVER (PARTITION BY location ORDER BY min(created_us) DESC, server) <= 2
)
SELECT location, first_us, (lag_us - queue_wait_us) / 1e6 AS startup_s
FROM launches JOIN visits USING (sweep_id, location) JOIN latest USING (location, server)
WHERE outcome = 'ok' AND NOT warmup AND deployment = '' AND lag_us IS NOT NULL AND created_us >= $since_us
QUALIFY row_number() OVER (PARTITION BY location, server ORDER BY created_us DESC, trial DESC, launch DESC) <= $most_launches
ORDER BY location, first_us, server, created_us, trial, launch;
