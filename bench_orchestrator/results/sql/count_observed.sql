SELECT count(*) FROM observed_launches;
