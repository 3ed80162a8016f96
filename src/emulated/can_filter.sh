#!/bin/sh
# Exits with 0 if bridges can filter by VLAN: creates one, named $1, in a network namespace that ends with it. Without
# the right to create a namespace this cannot be found out, and the answer is yes.
unshare --net true 2>/dev/null || exit 0
unshare --net ip link add name "$1" type bridge vlan_filtering 1
