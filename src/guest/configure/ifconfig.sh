# shellcheck shell=sh disable=SC2086
# The dialect of ifconfig(8). In `ifconfig -a` a name precedes `Link` (busybox, net-tools 1) or, with a colon, `flags=`
# (net-tools 2); a MAC address follows `HWaddr` or `ether`. A MAC address is given twice, in lower and in upper case.
# `u` MAC MAC MTU: sets a NIC up. `c` MAC MAC MTU ADDRESS NETMASK [BROADCAST]: configures it.
i() { p=; d=; a=; for w in $(ifconfig -a); do case $w in Link|flags=*) d=${p%:};; esac; case $p in HWaddr|ether) a=$w; "$@" && return;; esac; p=$w; done; return 1; }
o() { echo "netlab-has $d $a"; return 1; }
h() { i o; }
q() { [ $a = $x ] || [ $a = $y ]; }
n() { x=$1; y=$2; i q || { m $1; return 1; }; }
u() { n $1 $2 || return; end_dhcp; t ifconfig $d mtu $3 up; }
c() { u $1 $2 $3 && t ifconfig $d $4 netmask $5 ${6:+broadcast $6} up; }
