"""One experiment from its settings to its report: train tickets, pool them, evaluate, report."""
