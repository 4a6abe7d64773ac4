"""What the clients of other services share: whether a request was sent, and which texts must not be repeated."""
