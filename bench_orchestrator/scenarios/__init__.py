"""What can be asked: the named scenarios and experiments."""
