"""A stand-in for Stigg: `Stigg` is its REST API and app as a WSGI application."""

from .app import Stigg

__all__ = ["Stigg"]
