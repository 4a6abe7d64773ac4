"""Stigg's own test suite, as its official SDK ships it, and what it finds at the sandbox's stand-in for Stigg."""
