"""Salesforce's APIs: client, bulk queries, reading deals, writing status back."""
