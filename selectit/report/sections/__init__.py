"""The report's sections: what each says of a finished run."""
