# shellcheck shell=sh disable=SC2086,SC2154
# Pings addresses with the options that this guest's ping(8) has. Given: $w the mark of a line, $c echo requests per
# address, $z bytes of payload or nothing. `ping -i` with a fraction and `-M do` are tried on the guest itself.
o=; ping -q -c1 -i0.2 -W1 127.0.0.1 >/dev/null 2>&1 && o=-i0.2
[ -z "$z" ] || { ping -q -M "do" -c1 -W1 127.0.0.1 >/dev/null 2>&1 && o="$o -M do"; o="$o -s$z"; }
p() { r=$(ping -q -c$c -W1 $o $1 2>&1); s=${r##*ping statistics ---}
echo "$w $1 [" $s "] $1 $w"; }
f() { for t; do p $t; done; }
