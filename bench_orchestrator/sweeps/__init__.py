"""Carrying out a sweep: planning, launching, recording, harvesting."""
