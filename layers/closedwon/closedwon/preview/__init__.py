"""Previews: what provisioning would do with deals, without writing anything."""
