#!/bin/sh
# Prints `daemon|guest NAME PID STATE` for libvirt's daemons and the QEMU of each guest whose name begins with $1, by the
# files in which they keep their process ids; STATE is a letter of ps(1). Then `probing` where a QEMU is asked for its
# capabilities. Shell builtins where possible: it runs beside many guests.
show() {
  # The file may end without a newline.
  read -r pid <"$3" || [ -n "$pid" ] || return 0
  while read -r key value _; do
    if [ "$key" = State: ]; then
      echo "$1 $2 $pid $value"
      return 0
    fi
  done <"/proc/$pid/status"
}
for file in /run/libvirtd.pid /run/virtqemud.pid; do
  [ -r "$file" ] || continue
  name=${file##*/}
  show daemon "${name%.pid}" "$file"
done 2>/dev/null
for file in "/run/libvirt/qemu/$1"*.pid; do
  [ -r "$file" ] || continue
  name=${file##*/}
  show guest "${name%.pid}" "$file"
done 2>/dev/null
if [ "$2" = probes ] && grep -zqxE 'none(,accel=.*)?' /proc/[0-9]*/cmdline 2>/dev/null; then
  echo probing
fi
exit 0
