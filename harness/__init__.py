"""The instrument: paces a workload, asks the operating system what is open, judges the growth."""
