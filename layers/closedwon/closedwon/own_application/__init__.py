"""The client of the user's own application, which is asked before Stigg."""
