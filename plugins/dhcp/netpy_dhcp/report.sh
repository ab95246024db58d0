#!/bin/sh
# udhcpc calls this with an event, and what the server said in the environment. It writes both down in $NETPY_LEASE, as
# environ(7) has them: separated by NUL, so that no server can write lines of its own. The address is netpy's to set;
# only a lease that is lost takes it away, as RFC 2131 demands, and the same address leased again puts it back.
set -u

report() {
    { printf 'event=%s\0' "$1"; env -0; } >"$NETPY_LEASE.new" && mv "$NETPY_LEASE.new" "$NETPY_LEASE"
}

ours=${NETPY_ADDRESS:-}
case $1 in
bound | renew)
    event=$1
    if [ -n "$ours" ] && [ "$ip/${mask:-32}" != "$ours" ]; then
        event=other
    elif [ -n "$ours" ] && [ -e "$NETPY_LEASE.lost" ]; then
        ip address replace "$ours" dev "$interface"
        [ -z "${NETPY_ROUTER:-}" ] || ip route replace default via "$NETPY_ROUTER" dev "$interface" onlink
        rm -f "$NETPY_LEASE.lost"
    fi
    report "$event"
    ;;
deconfig) # before the first lease there is no report, nor is there one when netpy ends the client
    if [ -n "$ours" ] && [ -e "$NETPY_LEASE" ]; then
        : >"$NETPY_LEASE.lost"
        ip address del "$ours" dev "$interface" 2>/dev/null
        export ip="${ours%/*}" mask="${ours#*/}" # of what is lost udhcpc says nothing
        report lost
    fi
    ;;
esac
exit 0
