#!/bin/sh
# Prints `program <name>` for each argument that is an installed program, `missing <module>` for a missing kernel
# feature, `ovs runs` where Open vSwitch does, `memory <kB>`,
# `disk <kB>` for the free space of the folder that guests' disks are in, and `firmware <json>` for each of QEMU's descriptions of firmware. A module counts as present when it is loaded, built in or loadable, or when a link of its
# kind, or a rule, can be created in a network namespace that ends with the attempt.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for program; do
    command -v "$program" >/dev/null 2>&1 && echo "program $program"
done
can_add_link() {
    unshare -n true 2>/dev/null || return 0
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare -n sh -c '
        ip link add name b type bridge &&
            case $1 in
            8021q) ip link add link b name v type vlan id 2 ;;
            vxlan) ip link add name v type vxlan id 2 dstport 4789 ;;
            ip_gre) ip link add name v type gretap remote 192.0.2.1 local 192.0.2.2 ;;
            geneve) ip link add name v type geneve id 2 remote 192.0.2.1 ;;
            bonding) ip link add name v type bond ;;
            openvswitch) false ;;
            esac
    ' sh "$1" >/dev/null 2>&1
}
for module in bridge 8021q bonding vxlan ip_gre geneve openvswitch; do
    [ -d "/sys/module/$module" ] || modprobe -n -q "$module" 2>/dev/null || can_add_link "$module" ||
        echo "missing $module"
done
can_add_netem() {
    command -v tc >/dev/null && unshare -n true 2>/dev/null || return 0
    unshare -n sh -c 'ip link set dev lo up && tc qdisc add dev lo root netem delay 1ms' >/dev/null 2>&1
}
[ -d /sys/module/sch_netem ] || modprobe -n -q sch_netem 2>/dev/null || can_add_netem || echo "missing sch_netem"
can_add_table() {
    command -v nft >/dev/null && unshare -n true 2>/dev/null || return 0
    unshare -n nft "$1" >/dev/null 2>&1
}
can_add_table 'table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }' ||
    echo "missing nft_masq"
can_add_table 'table bridge t { chain c { type filter hook prerouting priority -300; arp daddr ip 10.0.0.1 drop; }; }' ||
    echo "missing nft_bridge"
for file in /usr/share/qemu/firmware/*.json /etc/qemu/firmware/*.json; do
    # A link to /dev/null hides a description of the distribution's.
    [ -s "$file" ] && echo "firmware $(tr -d '\n' <"$file")"
done
[ -S "${OVS_RUNDIR:-/run/openvswitch}/db.sock" ] && echo 'ovs runs'
folder=/var/lib/libvirt/images
until [ -d "${folder:-/}" ]; do folder=${folder%/*}; done
df -Pk "${folder:-/}" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/disk \1/p'
sed -n 's/^MemAvailable: *\([0-9]*\) kB/memory \1/p' /proc/meminfo
