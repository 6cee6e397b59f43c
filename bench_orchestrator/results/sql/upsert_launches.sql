-- Idempotent. A measured trial stays measured after its run is deleted from the instance.
INSERT OR REPLACE INTO launches BY NAME
SELECT fresh.*
FROM (SELECT unnest(from_json($rows::JSON, $structure), recursive := true)) AS fresh
WHERE fresh.outcome <> 'lost' OR NOT EXISTS (
    SELECT 1 FROM launches AS known
    WHERE known.sweep_id = fresh.sweep_id AND known.trial = fresh.trial AND known.launch = fresh.launch AND known.outcome <> 'lost'
);
