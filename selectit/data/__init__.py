"""Pools of instruction data: fetching, reading and checking their rows."""
