"""Measurements of closed-won: everything as ratios or counts from one run, each with its goal."""
