"""How fast the engine is: scripts of the checkout, not of the wheel. See README.md beside this."""
