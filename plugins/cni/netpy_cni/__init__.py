"""The driver `cni`: a network of netpy that other people's CNI plugins make. See `netpy_cni.driver`."""
