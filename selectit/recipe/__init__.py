"""Reading a recipe: YAML files, their parents, arms and grid, and all errors together."""
