"""What applications use: producers of events, consumers of predictions and of incidents."""
