-- Idempotent: a run that is observed again replaces its row.
INSERT OR REPLACE INTO observed_launches BY NAME
SELECT unnest(from_json($rows::JSON, $structure), recursive := true);
