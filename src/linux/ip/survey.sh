#!/bin/sh
# Prints `program <name>` for each argument that is an installed program, `missing <module>` for a missing kernel
# feature, `ovs runs` where Open vSwitch does, `memory <kB>`, `disk <kB>` for the free space of the folder that guests'
# disks are in, and `firmware <json>` for each of QEMU's descriptions of firmware. A module counts as present when it is
# loaded, built in or loadable, or when a link of its kind, or a rule, can be created in a network namespace that ends
# with the attempt.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for program; do
    command -v "$program" >/dev/null 2>&1 && echo "program $program"
done
set --
for module in bridge 8021q bonding vxlan ip_gre geneve openvswitch sch_netem; do
    [ -d "/sys/module/$module" ] || modprobe -n -q "$module" 2>/dev/null || set -- "$@" "$module"
done
# shellcheck disable=SC2016  # expanded by the inner shell
attempts='
    ip link add name b type bridge
    for module; do
        case $module in
        bridge) ip link show dev b ;;
        8021q) ip link add link b name v0 type vlan id 2 ;;
        bonding) ip link add name v1 type bond ;;
        vxlan) ip link add name v2 type vxlan id 2 dstport 4789 ;;
        ip_gre) ip link add name v3 type gretap remote 192.0.2.1 local 192.0.2.2 ;;
        geneve) ip link add name v4 type geneve id 2 remote 192.0.2.1 ;;
        sch_netem) ! command -v tc || { ip link set dev lo up && tc qdisc add dev lo root netem delay 1ms; } ;;
        nft_masq) nft "table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }" ;;
        nft_bridge) nft "table bridge t { chain c { type filter hook prerouting priority -300; arp daddr ip 10.0.0.1 drop; }; }" ;;
        *) false ;;
        esac >&2 || echo "missing $module"
    done
    true
'
command -v nft >/dev/null && set -- "$@" nft_masq nft_bridge
# Without the right to create a namespace nothing of this can be found out, and counts as present.
unshare -n sh -c "$attempts" sh "$@" 2>/dev/null
for file in /usr/share/qemu/firmware/*.json /etc/qemu/firmware/*.json; do
    # A link to /dev/null hides a description of the distribution's.
    [ -s "$file" ] && echo "firmware $(tr -d '\n' <"$file")"
done
[ -S "${OVS_RUNDIR:-/run/openvswitch}/db.sock" ] && echo 'ovs runs'
folder=/var/lib/libvirt/images
until [ -d "${folder:-/}" ]; do folder=${folder%/*}; done
df -Pk "${folder:-/}" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/disk \1/p'
sed -n 's/^MemAvailable: *\([0-9]*\) kB/memory \1/p' /proc/meminfo
