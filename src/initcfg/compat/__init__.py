"""The original's names and manners, for people who come from it."""
