INSERT OR REPLACE INTO observation_progress BY NAME
SELECT
    $instance AS instance,
    $until_us AS until_us,
    $newest_id AS newest_id,
    $deleted + coalesce((SELECT deleted FROM observation_progress WHERE instance = $instance), 0) AS deleted;
