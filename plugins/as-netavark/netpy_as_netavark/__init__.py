"""netpy as a netavark plugin: podman's containers on networks of ours. The executable is `netpy_as_netavark.main`."""
