INSERT INTO observed_recently BY NAME
SELECT $instance AS instance, unnest($run_ids::VARCHAR[]) AS run_id, unnest($updated_us::BIGINT[]) AS updated_us;
