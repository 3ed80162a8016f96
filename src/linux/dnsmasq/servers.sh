#!/bin/sh
# Observes, starts and stops a lab's DHCP and DNS servers. $1 the folder of all servers, $2 `observe`, `start` or `stop`.
#
# observe LAB     prints `<network> alive|dead <record>` for each server of the lab.
# start PROBE     starts the servers that standard input describes; PROBE is the Perl program probe.pl. Lines of input:
#                 `network <folder> <bridge> <gateway>`, then `record <json>`, then `conf <option>` for each option.
# stop FOLDER...  stops the servers of these folders: all are signalled first, then waited for.
#
# The last two print `failed <position> <reason> <details>` for the first server that fails, else nothing. Reasons:
# `missing`, `stuck <pid> <folder>`, `listening <bridge> <process>`, `answered <bridge> <address>`, `rejected <text>`.
set -u
umask 077
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
base=$1
verb=$2
shift 2

# Lists the servers that run, by their arguments (/proc/PID/cmdline, a zero byte behind each): one that was just started
# has no pid file yet.
list() {
    servers=$(grep -sHaxz -e "--conf-file=$base/[^/]*/conf" /proc/[0-9]*/cmdline | tr '\0' '\n')
}

# Succeeds if the server of folder $1 is in the list, and sets `pids`: itself, and while it starts the process that waits
# for it. A server in another network namespace is that of an emulated host on this machine.
alive() {
    pids=
    for each in $servers; do
        case $each in *"/cmdline:--conf-file=$1/conf") ;; *) continue ;; esac
        each=${each#/proc/}
        each=${each%%/*}
        # shellcheck disable=SC3013  # -ef: dash and busybox have it
        if [ "/proc/$each/ns/net" -ef /proc/self/ns/net ]; then pids="$pids $each"; fi
    done
    [ -n "$pids" ]
}

# Stops the server of folder $1 (by SIGKILL after 5 seconds) and removes the folder.
end() {
    tries=0
    while alive "$1"; do
        # shellcheck disable=SC2086  # a word per process
        case $tries in
        0) kill $pids 2>/dev/null ;;
        100) kill -9 $pids 2>/dev/null ;;
        200) return 1 ;;
        esac
        tries=$((tries + 1))
        sleep 0.05
        list
    done
    rm -rf "$1"
}

# Removes the folder of all servers, and that of netlab around it, where they are empty.
clean_up() {
    rmdir "$base" 2>/dev/null || return 0
    case $base in */netlab/*) rmdir "${base%/*}" 2>/dev/null ;; esac
}

observe() {
    list
    for folder in "$base/$1".*; do
        [ -d "$folder" ] || continue
        record=
        { read -r record <"$folder/record"; } 2>/dev/null
        if alive "$folder"; then state=alive; else state=dead; fi
        printf '%s %s %s\n' "${folder#"$base/$1."}" "$state" "$record"
    done
    # A server without a folder: nothing but its arguments says whose it is.
    for server in $servers; do
        server=${server#*:--conf-file="$base/"}
        server=${server%/conf}
        case $server in "$1".*) ;; *) continue ;; esac
        if ! [ -d "$base/$server" ] && alive "$base/$server"; then printf '%s alive \n' "${server#"$1."}"; fi
    done
}

stop() {
    list
    for name; do
        # shellcheck disable=SC2086  # a word per process
        if alive "$base/$name"; then kill $pids 2>/dev/null; fi
    done
    at=0
    for name; do
        end "$base/$name" || {
            echo "failed $at stuck ${pids##* } $base/$name"
            return
        }
        at=$((at + 1))
    done
    clean_up
}

# Creates the folders that standard input describes and lists them in `names`. The record of a folder comes first, so
# that an interrupted run leaves nothing unknown.
prepare() {
    mkdir -p "$base" || exit 1
    names=
    list
    while read -r kind rest; do
        case $kind in
        network)
            # shellcheck disable=SC2086  # three words
            set -- $rest
            folder=$base/$1
            end "$folder" || {
                echo "failed 0 stuck ${pids##* } $folder"
                exit 0
            }
            mkdir "$folder" || exit 1
            names="$names $1,$2,$3"
            ;;
        record) printf '%s\n' "$rest" >"$folder/new" && mv "$folder/new" "$folder/record" || exit 1 ;;
        conf) printf '%s\n' "$rest" >>"$folder/conf" || exit 1 ;;
        esac
    done
}

# A second server on a bridge would start without an error. So the kernel is asked who listens there already, and the
# network who answers. A bridge without a port reaches nobody.
find_rivals() {
    listening=$(ss -Hulnp 'sport = :67' 2>/dev/null)
    ports=$(ip -o link show type bridge_slave 2>/dev/null)
    asked=
    for each in $names; do
        each=${each#*,}
        bridge=${each%%,*}
        case $ports in *" master $bridge "*) asked="$asked $each" ;; esac
    done
    answers=
    if [ -n "$asked" ] && command -v perl >/dev/null; then
        # shellcheck disable=SC2086  # a word per bridge
        answers=$(perl -e "$1" $asked)
    fi
}

# Sets `reason` where the bridge $1 has another server.
rival() {
    reason=
    case $listening in
    *"%$1:67 "*)
        process=${listening#*"%$1:67 "}
        process=${process%%"
"*}
        reason="listening $1 ${process##* }"
        ;;
    esac
    case $answers in
    *"answer $1 "*)
        address=${answers#*"answer $1 "}
        address=${address%%"
"*}
        reason="answered $1 $address"
        ;;
    esac
}

start() {
    command -v dnsmasq >/dev/null || {
        echo "failed 0 missing"
        return
    }
    prepare
    find_rivals "$1"
    at=0
    reason=
    for each in $names; do
        folder=$base/${each%%,*}
        each=${each#*,}
        if [ -n "$reason" ]; then
            rm -rf "$folder"
            continue
        fi
        rival "${each%%,*}"
        # Without the mark of the run, which it outlives on purpose.
        if [ -z "$reason" ] && ! env -u NETLAB_RUN dnsmasq --conf-file="$folder/conf" --pid-file="$folder/pid" \
            --dhcp-leasefile="$folder/leases" </dev/null >"$folder/errors" 2>&1; then
            reason="rejected $(tr '\n' ' ' <"$folder/errors")"
        fi
        if [ -n "$reason" ]; then
            printf 'failed %s %s\n' "$at" "$reason"
            rm -rf "$folder"
            continue
        fi
        rm -f "$folder/errors"
        at=$((at + 1))
    done
    clean_up
}

case $verb in
observe) observe "$1" ;;
start) start "$1" ;;
stop) stop "$@" ;;
esac
exit 0
