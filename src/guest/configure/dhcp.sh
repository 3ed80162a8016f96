# shellcheck shell=sh disable=SC2005,SC2046,SC2086
# Asks the DHCP server on NIC $1 with the client that the guest has. Each client gives up by itself; those that keep
# running to renew a lease detach from the console.
has() { type $1 >/dev/null 2>&1; }
ask_dhcp() { if has udhcpc; then udhcpc -i $1 -n -q -f -t 5 -T 2; elif has dhclient; then dhclient -1 -v $1; elif has dhcpcd; then dhcpcd -4 -w -t 20 $1; else echo the guest has neither udhcpc nor dhclient nor dhcpcd; return 1; fi; }
add_nameserver() { grep -qx "nameserver $1" /etc/resolv.conf 2>/dev/null || echo nameserver $1 >> /etc/resolv.conf; }
has_address() { case " $(echo $(addresses $1)) " in *" $2 "*) ;; *) echo it has $(addresses $1); return 1;; esac; }
