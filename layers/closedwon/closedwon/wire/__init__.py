"""What the clients of other services share: whether a request was sent, and what their texts must not repeat."""
