"""Rows that differ from one another, by their vectors: one method a module."""
