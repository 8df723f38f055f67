"""How fast a training is on this machine, how near to its limit, and what would change that."""
