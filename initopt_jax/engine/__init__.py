"""The lane engine: plan lanes into tiles, define one training step, run tiles on devices."""
