"""What closed-won guarantees, tried hard: faults, deliberate defects, hostile input, load. ``make prove`` runs it."""
