# shellcheck shell=sh
# Waits until cloud-init has ended, and prints the exit status of `cloud-init status`, then what it says. Before release 23.4 its
# `--wait` ends with the first module that fails, while others have not begun: the last stage writes result.json. One that
# never comes is given up once nothing of cloud-init has run or been due for a minute.
command -v cloud-init >/dev/null || { echo netlab-status none; exit 0; }
r=/run/cloud-init/result.json
said=$(cloud-init status --long --wait 2>&1)
s=$?
case $said in *"status: disabled"*) n=0;; *) n=60;; esac
[ -e $r ] || while :; do
if grep -qx cloud-init /proc/[0-9]*/comm || systemctl list-jobs | grep -q ' cloud-'; then n=60; fi 2>/dev/null
if [ -e $r ] || [ $n = 0 ]; then said=$(cloud-init status --long 2>&1); s=$?; break; fi
n=$((n-1)); sleep 1; done
echo "netlab-status $s"
echo "$said"
