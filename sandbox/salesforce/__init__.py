"""Stand-in of Salesforce; see `sandbox.salesforce.app.Salesforce`."""
