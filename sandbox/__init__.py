"""closed-won on one machine: AWS, Stigg and Salesforce from the same template, for the demo and the tests."""
