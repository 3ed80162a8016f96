#!/bin/sh
# Creates a network namespace with mark $1 and name $2 for a machine of kind $3, a switch with its bridge $4. Runs in
# the new namespace, which exists only in this process until it has its mark: nobody ever sees it without, not even
# after a kill -9.
set -e
ip link set dev lo up alias "$1"
case $3 in
switch)
    ip link add name "$4" type bridge stp_state 0 forward_delay 0
    ip link set dev "$4" up alias "$1"
    ;;
router)
    echo 1 >/proc/sys/net/ipv4/ip_forward
    ;;
esac
exec ip netns attach "$2" $$
