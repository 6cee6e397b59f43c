"""The nouns as plain data; imports nothing else of the project."""
