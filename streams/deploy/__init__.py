"""From a declaration to a place where it runs: what is needed, what changed, what is missing."""
