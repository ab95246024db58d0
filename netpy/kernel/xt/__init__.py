"""Legacy x_tables: python-iptables in a worker process of its own, and the daemon's end of it."""
