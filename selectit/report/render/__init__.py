"""The report's files: HTML, Markdown, LaTeX, CSV, terminal."""
