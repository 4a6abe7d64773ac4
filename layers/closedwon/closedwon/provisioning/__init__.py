"""Provisioning: accepting deals, approvals, and what the state machine's steps share."""
