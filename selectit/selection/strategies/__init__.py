"""The strategies that ship, a module each."""
