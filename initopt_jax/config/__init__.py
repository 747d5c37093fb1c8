"""The config of a study: its schema, entries and overrides, and the YAML that it is written in."""
