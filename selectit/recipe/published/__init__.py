"""Published results, one YAML file per paper in this folder; a recipe names them in `published`.

What a number leaves out is unknown; the report compares a number with ours only where every setting is known and equal.
Imports nothing heavy.
"""

from selectit.recipe.published.files import read_published
from selectit.recipe.published.numbers import Published, PublishedJudge, PublishedNumber

__all__ = ["Published", "PublishedJudge", "PublishedNumber", "read_published"]
