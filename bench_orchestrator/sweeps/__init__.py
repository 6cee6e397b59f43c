"""Execution of sweeps: planning, launching, recording, harvesting."""
