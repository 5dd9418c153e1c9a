"""The ladder of protections: rungs on the same chips, what each tolerates and costs."""
