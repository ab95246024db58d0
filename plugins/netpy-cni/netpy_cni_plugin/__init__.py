"""netpy as a CNI plugin: see `netpy_cni_plugin.launch`."""
