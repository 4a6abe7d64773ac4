"""Intake: from a deal, as it is sent or read, to an order."""
