"""Reading a recipe: YAML files, their parents, arms and grid, and every fault at once."""
