# shellcheck shell=sh disable=SC2034,SC2086,SC2154,SC2231,SC2295
# What a guest itself shows of its links and of the packets that passed, a line each between two marks $w. Only files of
# /proc and /sys are read: every Linux guest has them, whatever its programs; and rules that drop packets, where a program
# lists them. A number of /proc/sys can be read once, so that `read`, which takes a byte at a time, gets its first digit and
# an error.
# $b: how many fragments it had made before the pings.
j; b=$s
# n MAC: prints the name of the NIC with that MAC address.
n() { set +f; for d in /sys/class/net/*; do read -r m <$d/address; [ "$m" = $1 ] && break; done 2>/dev/null; echo ${d##*/}; }
# $p: the process ID of this shell, which begins the questions and prints the answers.
read -r p x </proc/self/stat
# r ADDRESS [ALL]: reads what arping(8) prints about it from descriptor 3; prints that it was asked, and who answers. It ends
# at the first answer, and another process reads the others while this shell runs; with ALL it ends as arping does.
r() { while read -r l; do case $l in
ARPING*) echo "$w @asked $1 @ $w";;
*"eply from "*) m=${l#*\[}; [ -d /proc/$p ] && echo "$w @reply $1 ${m%%\]*} @ $w"
[ "$2" ] || { r $1 all & return; };; esac; done <&3; }
# l: the guest's addresses.
l() { while read -r p l x; do case "$p $l $x" in "|-- "*) a=$l;; "/32 host LOCAL") echo "$w @local $a @ $w";; esac; done </proc/net/fib_trie; }
# z: its routes, host name, name servers and links. On a screen nothing but l and z is asked: every byte is typed.
z() { while read -r i d g f x y z m x; do echo "$w @route $i $d $g $f $m $z @ $w"; done </proc/net/route
read -r x </proc/sys/kernel/hostname; echo "$w @name $x @ $w"
while read -r x a y; do echo "$w @dns $x $a @ $w"; done </etc/resolv.conf && echo "$w @resolv @ $w"
for d in /sys/class/net/*; do c=0; read -r m <$d/address; read -r u <$d/mtu; read -r f <$d/flags; read -r c <$d/carrier
echo "$w @link ${d##*/} $m $f $u $c @ $w"; done 2>/dev/null; }
e() { while read -r a t f m x d; do echo "$w @arp $a $f $m $d @ $w"; done </proc/net/arp
l; z
for f in tcp tcp6; do [ -r /proc/net/$f ] && { echo "$w @sockets @ $w"; while read -r x l y s z; do [ "$s" = 0A ] && echo "$w @listen ${l##*:} @ $w"; done </proc/net/$f; }; done
c=/proc/sys/net/ipv4; for f in $c/icmp_echo_ignore_all $c/conf/*/rp_filter $c/conf/*/arp_ignore; do x=; read -r x <$f; echo "$w @sys ${f#$c/} $x @ $w"; done
{ command -v nft >/dev/null && nft list ruleset; [ -s /proc/net/ip_tables_names ] && iptables -S; } | while read -r x; do case $x in
*drop*|*DROP*|*reject*|*REJECT*) echo "$w @drop $x @ $w";; esac; done
j; [ "$s" = "$b" ] || echo "$w @fragments @ $w"
echo "$w @end @ $w"; } 2>/dev/null
