"""From a config to what is run: workload, cells, programs and lanes."""
