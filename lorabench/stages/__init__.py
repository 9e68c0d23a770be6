"""The stages of a run, one file each: records and components in, records out; only the pipeline touches the store."""
