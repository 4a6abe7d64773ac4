"""The user's own application, which is asked before Stigg."""
