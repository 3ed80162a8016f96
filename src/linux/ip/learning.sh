#!/bin/sh
# Prints the taps of guests' NICs that pass no frames yet, because spanning tree listens or learns there: $1 and so on are
# the NICs' MAC addresses. libvirt gives a tap its guest's address with fe as the first byte (virNetDevTapCreateInBridgePort).
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for mac; do
    grep -lix "fe:${mac#??:}" /sys/class/net/*/address | while read -r file; do
        link=${file%/address}
        tap=${link##*/}
        if [ -e "$link/brport/state" ]; then
            # BR_STATE_LISTENING and BR_STATE_LEARNING of linux/if_bridge.h.
            read -r state <"$link/brport/state"
            case $state in 1 | 2) echo "$tap" ;; esac
        elif [ -S "${OVS_RUNDIR:-/run/openvswitch}/db.sock" ]; then
            case $(ovs-vsctl --timeout=5 --if-exists get Port "$tap" status:stp_state 2>/dev/null) in
            listening | learning) echo "$tap" ;;
            esac
        fi
    done
done
true
