"""Reports: files, the terminal's tables, and the same numbers as JSON.

A report begins with the answer to the scenario's question, followed by the evidence, including failures. It contains
no time of writing: the same sweep and advice give the same bytes. Its modules are imported one by one, because some
need much less than others: `doctor`, `html` and `rendering` neither Dagster nor numpy.
"""
