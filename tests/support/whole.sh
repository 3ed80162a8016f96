#!/bin/sh
# Prints everything of this machine that a lab could leave behind or change, a line each: its kind, then what it is. $1 is
# a word by which the caller recognizes this script's own processes.
exec 2>/dev/null
lines() { sed "s/^/$1 /"; }
ps -e -o stat=,args= | lines process
ip -o -d link | lines link
ip -o addr | lines address
ip -4 route show table all | lines route
ip -6 route show table all | lines route
ip rule | lines rule
ip -6 rule | lines rule
nft list ruleset | lines nft
grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/bridge | lines setting
ss -Hlntuwx | lines socket
ss -Hn0 | lines socket
cut -d' ' -f2,3 /proc/1/mounts | lines mount
readlink /proc/[0-9]*/ns/net /proc/[0-9]*/ns/mnt | sort -u | wc -l | lines namespaces
find /run /tmp /var/lib /var/log /etc/libvirt -xdev -printf '%y %m %p\n' | lines file
virsh -q 'list --all; pool-list --all; net-list --all' | lines libvirt
