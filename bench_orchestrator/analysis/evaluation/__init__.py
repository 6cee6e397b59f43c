"""Evaluation of an experiment's sweep: the figures of its sides, their comparisons, and the answer to its question.

Pure functions that accept any sweep, also an unfinished one: what was not measured is None or left out.
"""

from bench_orchestrator.analysis.evaluation.evaluation import Cost, Evaluation, evaluate, is_experiment
from bench_orchestrator.analysis.evaluation.sides import PathTime, Side

__all__ = ["Cost", "Evaluation", "PathTime", "Side", "evaluate", "is_experiment"]
