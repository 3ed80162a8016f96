#!/bin/sh
# Announces addresses to the neighbors: $1 NIC, $2 address, and so on in pairs. A neighbor that knew the address by
# another machine's Ethernet address learns the new one; without arping(8) it does so when its entry expires, within a
# minute or so.
PATH=$PATH:/usr/sbin:/sbin
command -v arping >/dev/null || exit 0
while [ $# -gt 1 ]; do
    arping -q -U -c 1 -w 1 -I "$1" "$2" >/dev/null 2>&1 &
    shift 2
done
wait
