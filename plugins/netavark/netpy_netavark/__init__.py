"""netavark plugins as drivers of netpy. The entry point is `netpy_netavark.finder`."""
