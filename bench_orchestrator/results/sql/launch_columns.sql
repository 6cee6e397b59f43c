SELECT column_name FROM duckdb_columns() WHERE table_name = 'launches' AND NOT internal;
