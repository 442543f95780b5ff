"""SelectIT scoring: rating texts, rating-token probabilities, the ledger, and the formulas over it."""
