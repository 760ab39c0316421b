"""How a run's steps are taken: a plan lowered onto data and a device, the loop, evaluation, and the clock."""
