"""The main table: values, comparisons and the words for them."""
