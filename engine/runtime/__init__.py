"""Containers as processes: an OCI runtime under conmon, and what is around it: cgroups, root file system, logs."""
