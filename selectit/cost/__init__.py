"""What a plan will cost, counted before it runs."""
