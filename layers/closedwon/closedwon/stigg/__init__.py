"""Stigg's API: client, request bodies, rate limit."""
