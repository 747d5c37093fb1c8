"""Studies: run, resumed, opened, verified, looked at again."""
