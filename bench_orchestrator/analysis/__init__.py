"""From launches to numbers, verdicts and advice."""
