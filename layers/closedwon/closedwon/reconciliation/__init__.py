"""Reconciliation: finds drift between Salesforce, the ledger and Stigg, and makes it due for repair."""
