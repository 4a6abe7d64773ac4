"""The operators' command: ``python -m ops``."""
