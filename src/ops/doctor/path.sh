#!/bin/sh
# Prints the MTU of NIC $1, and whether a small packet and one of that size pass to $2 unfragmented.
mtu=$(cat "/sys/class/net/$1/mtu") || exit 1
small=no
full=no
ping -q -c 2 -i 0.2 -W 1 "$2" >/dev/null 2>&1 && small=yes
ping -q -c 2 -i 0.2 -W 1 -M "do" -s $((mtu - 28)) "$2" >/dev/null 2>&1 && full=yes
echo "$mtu $small $full"
