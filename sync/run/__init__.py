"""One run: settings, the order of the steps, what an error means, lock, signals, log and summary."""
