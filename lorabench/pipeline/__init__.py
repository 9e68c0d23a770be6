"""A study from its file to its report: what there is to do (plan), how a task is done (tasks), the order (run)."""
