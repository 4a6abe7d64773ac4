"""Finding what differs between Salesforce, the ledger and Stigg, and having it repaired."""
