"""An experiment's sweep -> what it says: its sides in numbers, how they compare, and the answer to its question.

Pure functions over a sweep, whatever became of it: what was not measured is None or left out, never an error.
"""

from bench_orchestrator.analysis.evaluation.evaluation import Cost, Evaluation, evaluate, is_experiment
from bench_orchestrator.analysis.evaluation.sides import PathTime, Side

__all__ = ["Cost", "Evaluation", "PathTime", "Side", "evaluate", "is_experiment"]
