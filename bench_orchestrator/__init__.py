"""The meta code location: launches runs in other code locations and measures how long they take to start."""
