"""Where events come from besides real producers: made-up traffic, access logs, files of events."""
