#!/bin/sh
# Starts Open vSwitch in an emulated host, whose /run is its own, unless it runs: a database of its own, and both daemons,
# each started again when it ends. Returns once the database and the daemon answer.
set -eu
# The daemons outlive the run on purpose.
unset NETLAB_RUN
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
run=/run/openvswitch
answers() {
    ovs-vsctl --timeout=5 --no-wait --columns=_uuid list Open_vSwitch >/dev/null 2>&1 &&
        ovs-appctl --timeout=5 version >/dev/null 2>&1
}
answers && exit 0
mkdir -p "$run"
# Whole or absent: a run may be killed here.
rm -f "$run/.new.db"
[ -e "$run/conf.db" ] || {
    ovsdb-tool create "$run/.new.db" /usr/share/openvswitch/vswitch.ovsschema
    mv "$run/.new.db" "$run/conf.db"
}
# A second supervisor's daemons would not get the locks of the first one's.
# shellcheck disable=SC2016  # expanded by the inner shell
flock -n "$run/supervisor.lock" setsid sh -c '
    keep() {
        while :; do
            "$@"
            sleep 0.2
        done
    }
    keep ovsdb-server "$1/conf.db" --remote=punix:"$1/db.sock" --pidfile --unixctl="$1/ovsdb.ctl" -vconsole:off &
    keep ovs-vswitchd unix:"$1/db.sock" --pidfile -vconsole:off &
    wait
' sh "$run" </dev/null >/dev/null 2>&1 &
tries=0
until answers; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "Open vSwitch does not answer" >&2; exit 1; }
    ovs-vsctl --timeout=5 --no-wait init >/dev/null 2>&1 || :
    sleep 0.1
done
