"""Selection: a score for every row, and the rows with the highest scores."""
