"""Running a plan: preflight, one stage at a time, here or on a cluster."""
