"""The student in torch: five graphs with the names and shapes of the contract, their configuration and checkpoints."""
