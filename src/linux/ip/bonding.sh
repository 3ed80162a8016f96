#!/bin/sh
# Loads the kernel's module for bonds without the bond `bond0` that it otherwise creates by itself, in the machine's own
# namespace (Documentation/networking/bonding.rst, max_bonds). Where that fails, creating a bond reports why.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
[ -d /sys/module/bonding ] || modprobe -q bonding max_bonds=0 || true
