"""The nouns as plain data; imports nothing else from the project."""
