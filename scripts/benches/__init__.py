"""Side by side: netpy, Docker and Podman, each on private daemons in namespaces of its own, in one interleaved run."""
