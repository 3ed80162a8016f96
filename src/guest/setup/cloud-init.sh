# shellcheck shell=sh
command -v cloud-init >/dev/null || exit 0
cloud-init status --wait >/dev/null 2>&1
s=$?
[ $s = 0 ] || [ $s = 2 ] && exit 0
cloud-init status --long
exit $s
