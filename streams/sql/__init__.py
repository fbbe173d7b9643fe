"""Features in SQL, by DuckDB: an independent path that shares no code with the engine."""
