"""The log in memory, for unit tests and for where no Kafka can be had."""
