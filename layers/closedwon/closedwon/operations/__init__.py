"""Rules of the operators' command."""
