"""The OCI config.json of a container, built from Docker's documents. Pure."""
