"""Finished work on disk: fingerprints, artifact folders, and where a command may write."""
