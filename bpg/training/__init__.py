"""Loop, schedule, checkpoints, devices."""
