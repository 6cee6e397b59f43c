-- The latest sweep that satisfies the condition; those of one scenario come last.
SELECT sweep_id
FROM sweeps JOIN contents USING (sweep_id)
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
