"""What the operators' command judges by."""
