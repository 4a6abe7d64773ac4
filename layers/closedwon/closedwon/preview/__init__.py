"""What provisioning would do with deals, told without writing anything."""
