# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154
# `l` MAC MTU ADDRESS/PREFIX: leases this address by DHCP. The MTU is set again after that: the server may have sent
# one, and the lab's counts. $FLUSH and $SET are what udhcpc's events do.
FLUSH='ip -4 addr flush dev $interface' SET='ip addr replace $ip/${mask:-24} brd + dev $interface'
addresses() { ip -4 addr show dev $1 | sed -n 's/^ *inet \([^ ]*\).*/\1/p'; }
l() { u $1 $2 && t ask_dhcp $d $2 && t has_address $d $3 && t ip link set dev $d mtu $2; }
