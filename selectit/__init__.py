"""Select instruction data, fine-tune on it, evaluate: one recipe, one table."""

__version__ = "0.1.0"
