# shellcheck shell=sh disable=SC2086,SC2154
# o ADDRESS BYTES: sends one packet of so many bytes of payload, after the kernel has forgotten the path MTUs that it has
# learned; prints the address, between two marks $w, where it is answered and was sent whole. With the function j.
o() { ip route flush cache >/dev/null 2>&1; j; b=$s; ping -q -c1 -W2 -s$2 $1 >/dev/null 2>&1 && j && [ "$s" = "$b" ] && echo "$w $1 [ whole ] $1 $w"; }
