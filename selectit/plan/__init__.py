"""From a recipe to the graph of stages, and where each of them stands."""
