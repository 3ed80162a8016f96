#!/bin/sh
# Prints the secured ports of lab $1's Open vSwitch bridges, and the flows with cookie $2 there; nothing where Open vSwitch
# is not installed, does not run, or may not be asked by this user:
#   bridge <bridge>
#   wanted <port>=<what the bridge's external_ids have for it>
#   gateway <port>=<the address that the bridge's external_ids keep off it>
#   present <port>
#   flow <flow>
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
socket=${OVS_RUNDIR:-/run/openvswitch}/db.sock
[ -S "$socket" ] && [ -w "$socket" ] && command -v ovs-vsctl >/dev/null || exit 0
bridges=$(ovs-vsctl --timeout=20 --bare --columns=name find Bridge "external_ids:netlab=$1" 2>/dev/null) || exit 0
for bridge in $bridges; do
    ids=$(ovs-vsctl --timeout=20 --bare --columns=external_ids find Bridge "name=$bridge")
    case $ids in *netlab-port-* | *netlab-gateway-*) ;; *) continue ;; esac
    echo "bridge $bridge"
    # One id a line: with --bare, pairs are separated by blanks, and no part of one has any.
    for id in $ids; do
        case $id in
        netlab-port-*) echo "wanted ${id#netlab-port-}" ;;
        netlab-gateway-*) echo "gateway ${id#netlab-gateway-}" ;;
        esac
    done
    ovs-vsctl --timeout=20 list-ifaces "$bridge" | sed 's/^/present /'
    ovs-ofctl --timeout=20 --names dump-flows "$bridge" "cookie=$2/-1" | sed -n 's/^ *cookie/flow cookie/p'
done
