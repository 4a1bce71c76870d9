"""The history: an archive of events, journal and outputs in Parquet, and how it and files of events are read."""
