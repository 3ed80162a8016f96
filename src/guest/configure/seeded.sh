# shellcheck shell=sh disable=SC2005,SC2046,SC2086,SC2154
# Waits until the guest has what its seed disk says; changes nothing. Given: $wanted addresses with prefix lengths,
# $name the host name, $n attempts, one per second.
a() { ip -4 -o addr show | sed 's/.* inet \([^ ]*\).*/\1/'; }
l() { for w in $wanted; do case " $(echo $(a)) " in *" $w "*) ;; *) m=$w; return 1;; esac; done
[ "$(hostname)" = $name ] || { m=$name; return 1; }; }
until l; do n=$((n-1)); [ $n -gt 0 ] || { echo "netlab-unseeded $m"
for w in $(a) $(hostname); do echo "netlab-has $w"; done; exit 1; }; sleep 1; done
