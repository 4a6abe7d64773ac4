"""From an order to Stigg and back: accepting deals, approvals, what the state machine's steps share."""
