# shellcheck shell=sh disable=SC2086
# NetworkManager removes addresses that it has not set: `manage` NIC MTU SETTING... gives it a profile in memory (nmcli(1),
# `save no`), which comes before those of the image.
managed() { [ -d /run/NetworkManager ] && [ "$(nmcli -t -f RUNNING general 2>/dev/null)" = running ]; }
manage() { i=$1; e=$2; shift 2; end_by $i "nmcli connection delete netlab-$i"; nmcli device set $i managed yes
nmcli connection add save no type ethernet ifname $i con-name netlab-$i connection.autoconnect-priority 999 802-3-ethernet.mtu $e "$@" ipv4.never-default yes ipv6.method ignore && nmcli -w 30 connection up netlab-$i; }
