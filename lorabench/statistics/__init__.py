"""Numbers in, numbers out: similarities, distances, ranks, standard errors, Pareto fronts; no files, no models."""
