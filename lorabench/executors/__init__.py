"""Ways to run the tasks of a stage: in this process, in several, or elsewhere."""
