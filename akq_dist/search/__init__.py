"""The search: where points come from, and the ask -> run -> tell loop. The only place that names Optuna."""
