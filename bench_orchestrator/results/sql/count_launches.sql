SELECT count(*) FROM launch_measurements;
