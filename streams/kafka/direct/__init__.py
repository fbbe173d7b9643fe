"""Kafka's own protocol, spoken by ourselves: the quickest of the clients, for readers and transactional writers."""
