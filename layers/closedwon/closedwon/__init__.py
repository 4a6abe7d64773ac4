"""closed-won: a deal that changes in Salesforce becomes the customer's access in Stigg, once and in order.

Each sub-package says in its first line what it is about; docs/architecture.md walks through them.
Nothing is imported here, so that a function pays only for the modules it uses.
"""

__version__ = "0.2.0"
