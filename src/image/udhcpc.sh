#!/bin/sh
# shellcheck disable=SC2154 # udhcpc sets interface, ip, mask, router, dns
# Called by udhcpc: $1 is the event, the lease is in the environment.
case $1 in
deconfig)
	ip address flush dev "$interface"
	ip link set "$interface" up
	;;
bound | renew)
	ip address replace "$ip/${mask:-24}" dev "$interface"
	for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; break; done
	: >/etc/resolv.conf
	for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
	;;
esac
