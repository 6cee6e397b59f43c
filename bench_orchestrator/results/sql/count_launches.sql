SELECT count(*) FROM launches;
