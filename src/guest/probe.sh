# shellcheck shell=sh disable=SC2048,SC2086,SC2154
# Pings addresses with the options that this guest's ping(8) has. Given: $w the mark of a line, $c echo requests per
# address, $v seconds that replies are waited for. `-M do` is tried on the guest itself, unless ping is a part of its shell
# (busybox), which has no such option; `-i` with a fraction by each ping, since most programs have it: a program more takes
# 50 ms in emulation.
d=; case $(command -v ping) in */*) ping -q -M "do" -c1 -W1 127.0.0.1 >/dev/null 2>&1 && d="-M do";; esac
# q OPTION… ADDRESS: pings; the result is in $s.
q() { r=$(ping -q -c$c -W$v $o $* 2>&1); case $r in *statistics*) ;; *) [ -z "$o" ] || { o=; q $*; return; };; esac; s=${r##*ping statistics ---}; }
# p ADDRESS: pings by full packets of $z bytes of payload; where not all come back, by small ones; and where all of the full
# ones but not of the small ones are lost, by full ones once more: those were sent first, and the neighbor table may have
# been outdated, or a path MTU that the kernel keeps for ten minutes (RFC 1191). Without $z by small ones only. The results
# are on one line.
p() { if [ -z "$z" ]; then q $1; m=$s; else
q $d -s$z $1; m=$s; case $s in *", 0% "*) ;; *) q $1; m="$m | $s"
case $m in *", 100% "*" | "*", 100% "*) ;; *", 100% "*" | "*) ip route flush cache >/dev/null 2>&1; q $d -s$z $1; m="$m | $s";; esac;; esac; fi
echo "$w $1 [" $m "] $1 $w"; }
f() { o=-i0.2; for t; do p $t; done; }
