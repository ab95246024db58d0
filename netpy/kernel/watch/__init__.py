"""Notices what others do to the host's links and rules, so that it can be mended: see `netpy.kernel.watch.watch`."""
