"""Launches laid out in time: one as a waterfall, several or their steps as a Gantt chart."""
