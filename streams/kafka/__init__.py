"""The log as genuine Kafka: readers and writers on it, and a broker of our own for a machine that has none."""
