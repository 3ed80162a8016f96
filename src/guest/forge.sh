# shellcheck shell=sh disable=SC2064,SC2086,SC2154
# Sends from an address that is not the guest's, as a port with port security must not let it.
# i MAC TO FROM: gives the NIC with that MAC address FROM for as long as it takes, asks for TO by ARP and pings it; prints
# how many of the two were sent and answered. The kernel removes the address by itself should this be killed.
i() { d=$(n $1); ip addr add $3/32 dev $d valid_lft 9 preferred_lft 9 || return
trap "ip addr del $3/32 dev $d" EXIT; trap exit HUP INT TERM
{ case $(arping -c1 -w1 -s $3 -I $d $2) in *"eply from "*) r=1;; *"Sent "*) r=0;; *) r=no;; esac; echo "$w @forged $3 $r @ $w"; } &
{ case $(ping -q -c1 -W1 -I $3 $2) in *"1 packets transmitted, 0 "*) r=0;; *"1 packets transmitted, 1 "*) r=1;; *) r=no;; esac; echo "$w @forged $3 $r @ $w"; } &
wait; } 2>/dev/null
