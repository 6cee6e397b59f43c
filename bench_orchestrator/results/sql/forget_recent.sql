DELETE FROM observed_recently WHERE instance = $instance AND updated_us < $forget_us;
