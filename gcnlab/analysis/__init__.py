"""What the runs say: statistics, the paper's tables and claims, and the mechanism behind them."""
