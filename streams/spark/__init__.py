"""Features in PySpark, from the same plan, for logs that one machine does not hold."""
