"""closed-won: a deal that changes in Salesforce becomes the customer's access in Stigg, once and in order.

Pure: `deal`, `mapping`, `desired`, `plan`. Input and output: `ledger`, `catalogue`, `stigg`, `salesforce`, `secrets`.
Nothing is imported here, so that a function pays only for the modules it uses.
"""

__version__ = "0.2.0"
