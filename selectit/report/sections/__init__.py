"""The report's sections: what each shows of a finished run."""
