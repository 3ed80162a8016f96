# shellcheck shell=sh disable=SC2086
# The dialect of ip(8). /sys/class/net/*/device are the NICs with a device behind them: a bridge or a VLAN device on
# top of one has its MAC address, too (Documentation/ABI/testing/sysfs-class-net).
# `u` MAC MTU: sets a NIC up without addresses. `c` MAC MTU ADDRESS/PREFIX [BROADCAST]: configures it.
h() { for p in /sys/class/net/*/device; do p=${p%/device}; read -r a < $p/address && echo "netlab-has ${p##*/} $a"; done; }
n() { for p in /sys/class/net/*/device; do p=${p%/device}; d=${p##*/}; a=; read -r a < $p/address; [ "$a" = $1 ] && return; done; m $1; return 1; }
u() { n $1 || return; end_dhcp; t ip link set dev $d mtu $2 up; t ip -4 addr flush dev $d; }
c() { u $1 $2 || return; if managed; then t manage $d $2 ipv4.method manual ipv4.addresses $3; else t ip addr add $3 ${4:+broadcast $4} dev $d; fi; }
