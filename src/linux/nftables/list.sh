#!/bin/sh
# Prints all tables, then those named $1 in full, as JSON. Prints nothing where there is no nft, or where the kernel has
# no nftables: then netlab has no table either.
PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null || exit 0
if ! tables=$(nft -j list tables 2>&1); then
    case $tables in *[Nn]"ot supported"*) exit 0 ;; esac
    printf '%s\n' "$tables" >&2
    exit 1
fi
printf '%s\n' "$tables"
for family in ip bridge; do
    nft -j list table "$family" "$1" 2>/dev/null || true
done
