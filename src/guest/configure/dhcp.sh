# shellcheck shell=sh disable=SC2005,SC2013,SC2016,SC2046,SC2086
# `ask_dhcp` NIC MTU: has a lease obtained by what the guest configures NICs with, NetworkManager or networkd, else by the client
# that it has. Each fails by itself where no server answers, and otherwise keeps running and renews the lease, detached from
# the console. None of them sets the default route, except dhclient as it starts: the lab does. What ends it is in
# /run/netlab/dhcp-NIC, for the next configuration.
has() { type $1 >/dev/null 2>&1; }
active() { has systemctl && systemctl -q is-active $1 2>/dev/null; }
ask_dhcp() { if managed; then manage $1 $2 ipv4.method auto
elif active systemd-networkd && has networkctl; then ask_networkd $1
elif has udhcpc; then end_clients $1; ask_udhcpc $1
elif has dhclient; then end_clients $1; end_by $1 "kill \$(cat /run/dhclient-$1.pid)"; dhclient -1 -v -pf /run/dhclient-$1.pid $1
elif has dhcpcd; then end_by $1 "dhcpcd -4 -x $1"; dhcpcd -4 -G -w -t 20 $1
else echo the guest has neither udhcpc nor dhclient nor dhcpcd, and neither NetworkManager nor networkd runs; return 1; fi; }
# Ends clients that the guest itself started on the NIC: two would compete.
end_clients() { for p in $(grep -lxE 'udhcpc|dhclient' /proc/[0-9]*/comm); do p=${p%/comm}; ! tr '\0' '\n' <$p/cmdline | grep -qx $1 || kill ${p##*/}; done 2>/dev/null; }
# networkd: a file that a reboot removes, before all others (systemd.network(5)).
ask_networkd() { f=/run/systemd/network/00-netlab-$1.network; end_by $1 "rm $f; networkctl reload"; mkdir -p /run/systemd/network
printf '%s\n' '[Match]' Name=$1 '[Network]' DHCP=ipv4 '[DHCPv4]' UseRoutes=no UseMTU=no UseHostname=no ClientIdentifier=mac >$f
networkctl reload && networkctl reconfigure $1 || return
n=20; until [ -n "$(addresses $1)" ]; do n=$((n-1)); [ $n -gt 0 ] || { echo networkd got no lease in 20 s; return 1; }; sleep 1; done; }
# udhcpc runs `PROGRAM EVENT`: here sh, which runs the file of that name in the current folder, since files in /run may not
# be executable. A renewed lease changes neither the default route nor the name servers, which the lab adds to.
ask_udhcpc() { f=/run/netlab/udhcpc-$1; mkdir -p $f; end_by $1 "kill \$(cat $f/pid)"
echo "$FLUSH" >$f/deconfig; echo "$SET" >$f/renew; { echo "$SET"; echo 'for s in $dns; do echo nameserver $s; done >/etc/resolv.conf'; } >$f/bound
echo : >$f/nak; echo : >$f/leasefail
(cd $f && udhcpc -i $1 -n -t 5 -T 2 -p $f/pid -s /bin/sh); }
add_nameserver() { grep -qx "nameserver $1" /etc/resolv.conf 2>/dev/null || echo nameserver $1 >> /etc/resolv.conf; }
has_address() { case " $(echo $(addresses $1)) " in *" $2 "*) ;; *) echo it has $(addresses $1); return 1;; esac; }
