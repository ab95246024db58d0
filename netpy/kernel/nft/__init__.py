"""nf_tables: libnftables writes, in transactions; a netlink socket of our own looks up, by key."""
