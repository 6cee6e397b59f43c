SELECT * EXCLUDE (launch) FROM launches WHERE sweep_id = $sweep_id ORDER BY trial, launch;
