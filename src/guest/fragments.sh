# shellcheck shell=sh disable=SC2034,SC2086
# j: how many fragments this machine has made is in $s (/proc/net/snmp: ipFragCreates of RFC 1213).
j() { while read -r s x; do case $x in *[a-z]*) ;; *) set -- $x; s=${19}; return;; esac; done </proc/net/snmp; } 2>/dev/null
