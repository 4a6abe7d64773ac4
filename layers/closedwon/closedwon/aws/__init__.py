"""AWS's services as closed-won uses them: ledger, secrets, executions, notices, metrics."""
