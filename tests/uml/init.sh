#!/bin/sh
# PID 1 of the user-mode Linux. The machine's own root is the kernel's root, read-only; all that is written goes to an
# overlay in this kernel's memory and disappears with it. Starting a program costs some 45 ms here: few are started.
set -e
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C HOME=/root
# Before anything of busybox runs: it restarts itself by /proc/self/exe, and as long as the machine's /proc shows
# through, that is the kernel.
mount -t proc proc /proc
folder=${0%/*}
# shellcheck source=/dev/null
. "$folder/environment"
read -r release </proc/sys/kernel/osrelease
packed=/usr/lib/uml/modules/$release

mount -t tmpfs tmpfs /run
mkdir /run/written /run/work /run/root
insmod "$packed/kernel/fs/overlayfs/overlay.ko"
mount -t overlay overlay -o lowerdir=/,upperdir=/run/written,workdir=/run/work /run/root
cd /run/root
mount --move /dev dev
mount --move /proc proc
mount -t sysfs sys sys
mount -t tmpfs tmpfs run
mkdir -p dev/pts dev/shm run/machine run/netns "./lib/modules/$release" "./$NETLAB_CACHE_DIR/capabilities" \
    var/lib/netlab
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t cgroup2 cgroup2 sys/fs/cgroup
# The one folder of the machine that is written to: what libvirt learns of QEMU under this kernel.
mount -t hostfs none "./$NETLAB_CACHE_DIR/capabilities" -o "$KEPT"
pivot_root . run/machine
mount --bind "$packed" "/lib/modules/$release"
[ -e "/lib/modules/$release/modules.dep" ] || depmod
modprobe -a 8021q bridge veth tun ipv6
ip link set lo up

cd "$WORKSPACE"
sh "$folder/script" || true
busybox poweroff -f
