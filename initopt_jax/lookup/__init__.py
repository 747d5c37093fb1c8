"""From a name in a config to what it names, in the registries or in files of the user's own."""
