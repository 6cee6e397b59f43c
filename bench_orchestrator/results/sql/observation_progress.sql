SELECT until_us, newest_id, deleted FROM observation_progress WHERE instance = $instance;
