"""The operator's side: options, checks, dry run, history, progress and the summary as text."""
