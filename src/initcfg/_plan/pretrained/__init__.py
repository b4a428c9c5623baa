"""Pretrained: what a rule says of a checkpoint, and how its tensors and the module's find each other."""
