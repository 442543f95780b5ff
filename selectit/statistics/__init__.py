"""Paired statistics on per-item scores: tests, their correction, confidence intervals, the spread over seeds.

Plain arrays in, plain numbers out; what is compared with what is decided in `selectit.report.tables.compare`.
"""

ALPHA = 0.05
"""Level of every word: `better` and `worse` need a corrected p-value below it."""
CONFIDENCE = 0.95
"""Of every interval."""
