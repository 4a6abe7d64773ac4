"""Sentences for people: changes in the words of a sales rep."""
