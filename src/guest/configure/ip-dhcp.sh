# shellcheck shell=sh disable=SC2086,SC2154
# `l` MAC MTU ADDRESS/PREFIX: leases this address by DHCP. The MTU is set again after that: the server may have sent
# one, and the lab's counts.
addresses() { ip -4 addr show dev $1 | sed -n 's/^ *inet \([^ ]*\).*/\1/p'; }
l() { u $1 $2 && t ask_dhcp $d && t has_address $d $3 && t ip link set dev $d mtu $2; }
