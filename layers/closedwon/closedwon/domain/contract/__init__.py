"""The contract model: from the readings of a customer's opportunities to what it agreed to at any instant. Pure."""
