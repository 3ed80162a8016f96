# shellcheck shell=sh disable=SC2034,SC2086,SC2154
# Both dialects begin with this. `t` tries a command and remembers that one failed, `m` reports a missing NIC. The
# dialect defines `n`, which finds the NIC with a MAC address and puts its name into $d, and `h`, which lists the NICs. What
# keeps an address on a NIC is ended by the commands in /run/netlab/dhcp-NIC: `end_by` writes them, `end_dhcp` runs them.
t() { s=$("$@" 2>&1) || { bad=1; echo "netlab-failed $* netlab-said" $s; return 1; }; }
end_by() { mkdir -p /run/netlab; echo "$2" >/run/netlab/dhcp-$1; }
end_dhcp() { f=/run/netlab/dhcp-$d; [ ! -e $f ] || { sh $f; rm -f $f; } >/dev/null 2>&1; }
m() { bad=1; echo "netlab-missing $1"; h; }
write_resolv_conf() { for a; do echo nameserver $a; done > /etc/resolv.conf; }
