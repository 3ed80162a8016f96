# shellcheck shell=sh
# What a guest has, in the dialect of ip(8); src/guest/inspect/dialects.rs reads it.
( ip addr; echo @route; ip route; echo @dns; cat /etc/resolv.conf; echo "@name $(hostname)" ) 2>&1
