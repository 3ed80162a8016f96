# shellcheck shell=sh disable=SC2086,SC2154,SC2162
# `loose`: source validation of NIC $d that is strict becomes loose (ip-sysctl, rp_filter: the larger value of the NIC and of
# all counts): packets from one of the guest's own subnets may come in by the NIC of another one.
loose() { v=/proc/sys/net/ipv4/conf; a=0; b=0; read -r a <$v/all/rp_filter; read -r b <$v/$d/rp_filter
case $a$b in 10|01|11) echo 2 >$v/$d/rp_filter;; esac; } 2>/dev/null
