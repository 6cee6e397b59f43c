SELECT DISTINCT run_id, sweep_id
FROM launches
JOIN (SELECT unnest($prefixes) AS prefix) ON starts_with(run_id, prefix)
ORDER BY run_id;
