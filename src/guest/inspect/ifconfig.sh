# shellcheck shell=sh
# What a guest has, in the dialect of ifconfig(8) and route(8); src/guest/inspect/dialects.rs reads it.
( ifconfig -a; echo @route; route -n; echo @dns; cat /etc/resolv.conf; echo "@name $(hostname)" ) 2>&1
