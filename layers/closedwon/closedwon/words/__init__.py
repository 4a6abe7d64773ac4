"""Sentences for people: what a change is, in the words of a sales rep."""
