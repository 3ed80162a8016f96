# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154
# `l` MAC MAC MTU ADDRESS: leases this address by DHCP. An address is `inet addr:10.0.1.2` or, in net-tools 2,
# `inet 10.0.1.2`. $FLUSH and $SET are what udhcpc's events do.
FLUSH='ifconfig $interface 0.0.0.0' SET='ifconfig $interface $ip ${subnet:+netmask $subnet} up'
addresses() { ifconfig $1 | sed -n 's/^ *inet \(addr:\)*\([^ ]*\).*/\2/p'; }
l() { u $1 $2 $3 && t ifconfig $d 0.0.0.0 && t ask_dhcp $d $3 && t has_address $d $4 && t ifconfig $d mtu $3; }
