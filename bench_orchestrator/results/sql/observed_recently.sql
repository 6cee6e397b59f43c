SELECT run_id, updated_us FROM observed_recently WHERE instance = $instance;
