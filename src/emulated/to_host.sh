#!/bin/sh
# Connects a router to this machine's own network, or reports whether it is. $1 what, $2 the router's namespace, $3 the name
# of the link's two ends, $4 their mark, $5 the router's address, $6 this machine's, with prefix lengths, $7 the subnet,
# $8 the name of the table on this machine.
# The link has a name before it has its mark: a run that is killed in between is recognized by its end in the namespace.
set -eu
what=$1 space=$2 link=$3 mark=$4 inside=$5 here=$6 subnet=$7 table=$8
in_router() { ip -n "$space" "$@"; }
case $what in
connect)
	if ! in_router link show dev "$link" >/dev/null 2>&1; then
		ip link add name "$link" type veth peer name "$link" netns "$space"
	fi
	ip link set dev "$link" alias "$mark"
	ip address replace "$here" dev "$link"
	ip link set dev "$link" up
	in_router address replace "$inside" dev "$link"
	in_router link set dev "$link" up
	in_router route replace default via "${here%/*}" dev "$link"
	# A table is replaced at once: nft(8).
	ip netns exec "$space" nft -f - <<END
table ip netlab-to-host
delete table ip netlab-to-host
table ip netlab-to-host {
	chain out {
		type nat hook postrouting priority srcnat
		oifname "$link" masquerade
	}
}
END
	nft -f - <<END
table ip $table
delete table ip $table
table ip $table {
	chain out {
		type nat hook postrouting priority srcnat
		ip saddr $subnet oifname != "$link" masquerade
	}
}
END
	;;
observe)
	in_router -o -4 address show dev "$link" up | grep -qF " $inside " || exit 0
	ip -o -4 address show dev "$link" up 2>/dev/null | grep -qF " $here " || exit 0
	in_router -4 route show default | grep -qF "via ${here%/*} dev $link" || exit 0
	nft list table ip "$table" 2>/dev/null | grep -qF "ip saddr $subnet oifname != \"$link\" masquerade" || exit 0
	ip netns exec "$space" nft list table ip netlab-to-host 2>/dev/null | grep -qF masquerade || exit 0
	[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || exit 0
	echo connected
	;;
esac
