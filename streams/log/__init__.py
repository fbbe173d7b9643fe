"""The feature log in Parquet, and what is read from it: replay, what another definition would have said."""
