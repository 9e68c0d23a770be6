"""Names of columns that the tables of a run share, in their order."""

FACTORS = [
    *("study", "base", "checkpoint", "config", "algorithm", "trained_layers", "lr", "dim", "alpha", "factor"),
    *("seed", "epoch", "step", "scale"),
]
METRIC = ["prompt_type", "metric", "encoder", "resize"]  # two values compare only where all four agree
CLASS = ["category", "class_name"]
LEAF = [*CLASS, "subclass"]
ALL = "all"  # the category that stands for every class of a study; metrics of scope "checkpoint" have no other
