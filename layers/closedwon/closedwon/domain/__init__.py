"""What is true of deals and customers, and what follows from it. Pure: no network, no AWS, no validation library."""
