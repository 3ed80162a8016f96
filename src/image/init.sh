#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb PS1='mini# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
dmesg -n 1
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
cd /root
exec </dev/ttyS0 >/dev/ttyS0 2>&1
while :; do setsid cttyhack sh; done
