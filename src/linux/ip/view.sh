#!/bin/sh
# Prints what the kernel shows besides links, addresses and routes: `forward 0|1`; `age <bridge> <mac> <1/100 s>` for each
# learned entry of a bridge; `ovs <bridge> <port> <mac> <seconds>` for each of a bridge of Open vSwitch; `flows <bridge>` for
# each of those bridges that is a lab's, and `flow <bridge> <flow>` for each of its flows; after a line `fdb` the forwarding
# databases and after `neigh` the neighbor table, as JSON on one line each; after `policy` the rules of policy routing, also
# as JSON; `/proc/sys/net/…:value` for settings that decide about packets; after `rules` the rules of nftables as text, and
# those of iptables-legacy that drop what is forwarded or translate addresses; `bridge-nf` where bridged packets pass the
# rules for routed ones. Prints nothing of what the host does not have.
PATH=$PATH:/usr/sbin:/sbin
read -r forward </proc/sys/net/ipv4/ip_forward && echo "forward $forward"
[ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ] && echo bridge-nf
# struct __fdb_entry of linux/if_bridge.h: six bytes of address, port, is_local, ageing_timer_value as u32, padding.
for database in /sys/class/net/*/brforward; do
    [ -s "$database" ] || [ -r "$database" ] || continue
    bridge=${database%/brforward}
    od -An -v -w16 -tx1 -tu4 "$database" 2>/dev/null | while read -r a b c d e f _ is_local _; do
        read -r _ _ age _ || break
        [ "$is_local" = 00 ] && echo "age ${bridge##*/} $a:$b:$c:$d:$e:$f $age"
    done
done
grep -H . /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/proxy_arp \
    /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv4/icmp_echo_ignore_all \
    /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null
echo policy
ip -json rule show 2>/dev/null | tr '\n' ' '
echo
if [ -S "${OVS_RUNDIR:-/run/openvswitch}/db.sock" ] && command -v ovs-appctl >/dev/null; then
    # Port numbers are those of a bridge. No name of a link has a slash.
    ports=$(ovs-appctl --timeout=5 dpif/show 2>/dev/null | awk '
        /^  [^ ].*:$/ { sub(":", "", $1); bridge = $1; next }
        /^    / { split($2, number, "/"); print bridge, number[1], $1 }')
    {
        echo "$ports"
        # A bond learns by one of its members.
        ovs-appctl --timeout=5 bond/show 2>/dev/null | awk '
            /^---- / { bond = $2 }
            $1 == "member" || $1 == "slave" { sub(":", "", $2); print "/bond", $2, bond }'
        for bridge in $(echo "$ports" | cut -d' ' -f1 | sort -u); do
            ovs-appctl --timeout=5 fdb/show "$bridge" 2>/dev/null | sed "s,^,/fdb $bridge ,"
        done
    } | awk '
        $1 == "/bond" { bond[$2] = $3; next }
        $1 != "/fdb" { name[$1, $2] = $3; next }
        $5 ~ /:/ && ($2, $3) in name {
            port = name[$2, $3]
            print "ovs", $2, port in bond ? bond[port] : port, $5, $6
        }'
    # Those of others may have thousands.
    for bridge in $(ovs-vsctl --timeout=5 --bare --columns=name find Bridge 'external_ids:netlab!=""' 2>/dev/null); do
        echo "flows $bridge"
        ovs-ofctl --timeout=5 --no-stats dump-flows "$bridge" 2>/dev/null | sed "s/^ */flow $bridge /"
    done
fi
echo fdb
bridge -s -json fdb show 2>/dev/null | tr '\n' ' '
echo
echo neigh
ip -s -json neighbor show 2>/dev/null | tr '\n' ' '
echo
echo rules
command -v nft >/dev/null && nft -s list ruleset 2>/dev/null
# Listing the rules of iptables-legacy where it has no table would create one.
grep -qx filter /proc/net/ip_tables_names 2>/dev/null && iptables-legacy -S FORWARD 2>/dev/null | grep -e DROP -e REJECT
grep -qx nat /proc/net/ip_tables_names 2>/dev/null && iptables-legacy -t nat -S 2>/dev/null |
    grep -e DNAT -e SNAT -e MASQUERADE -e REDIRECT -e NETMAP
true
