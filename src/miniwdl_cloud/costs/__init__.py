"""What tasks use and cost: usage, machines, prices, and the budget of a run."""
