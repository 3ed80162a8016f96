# shellcheck shell=sh
# The folder of saved states on a host. KIND.state is a complete one: a folder with `memory`, libvirt's file, and with `disk` where its
# guests have one. GUEST.part is being saved; GUEST.head, GUEST.pipe and GUEST.disk, the guest's own disk, are what a guest is
# restored by. Names have no character that a shell or a pattern acts on. Arguments: what to do, the folder, and:
#   make    MOST                      makes the folder, and removes what nobody has used for 30 days, what was left by a process that
#                                     was killed, and of the rest what was used the longest ago, as far as it is more than MOST bytes
#   begin   GUEST [DISK COPY [SEED]]  makes GUEST.part, empty, COPY a copy of DISK, and SEED of standard input
#   keep    GUEST KIND [COPY]         makes what was saved, with a copy of COPY, the state of its kind where there is none yet
#   leave   FILE...                   removes COPY and SEED
#   head    KIND                      prints the head of a state's memory; the state counts as used now
#   feed    KIND GUEST LENGTH [DISK]  makes DISK a copy of the state's, and GUEST.pipe, to be read once: standard input, then the memory
#                                     without its first LENGTH bytes
#   end     GUEST [DISK]              ends what feeds that, removes it, and makes DISK again what it was before `feed`
#   done    GUEST                     removes the guest's own disk
#   discard NAME                      removes NAME.state or NAME.part
# Exits with 3 where there is no such folder, or no such state.
set -e
what=$1
if [ "$what" = make ]; then
	umask 022
	mkdir -p "$2"
fi
umask 077
cd "$2" 2>/dev/null || exit 3
shift 2
copy() { cp --reflink=auto --sparse=always -- "$1" "$2"; }
case $what in
make)
	find . -maxdepth 1 -name '*.state' -mtime +29 -exec rm -rf {} +
	find . -maxdepth 1 ! -name . ! -name '*.state' -mmin +60 -exec rm -rf {} +
	kept=0
	# shellcheck disable=SC2012
	ls -t | sed -n 's/\.state$//p' | while read -r kind; do
		kept=$((kept + $(du -sk "$kind.state" | cut -f1)))
		[ "$((kept * 1024))" -le "$1" ] || rm -rf "$kind.state"
	done
	;;
begin)
	rm -rf "$1.part"
	mkdir "$1.part"
	[ -z "${2-}" ] || copy "$2" "$3"
	[ -z "${4-}" ] || cat >"$4"
	;;
leave)
	rm -f "$@"
	;;
keep)
	# libvirt has made it: it has the guest's whole memory.
	chmod 0600 "$1.part/memory"
	[ -z "${3-}" ] || copy "$3" "$1.part/disk"
	# On disk before it has its name.
	sync "$1.part"/* 2>/dev/null || sync
	mv -T "$1.part" "$2.state" 2>/dev/null || {
		# Another machine's netlab was first.
		[ -f "$2.state/memory" ]
		rm -rf "$1.part"
	}
	;;
head)
	cd "$1.state" 2>/dev/null || exit 3
	touch -c .
	# libvirt's src/qemu/qemu_saveimage.h: a header of 92 bytes, in it at byte 20 the length of what follows.
	length=$(od -An -tu4 -j20 -N4 memory | tr -d ' ')
	head -c "$((92 + ${length:-0}))" memory | head -c 16777308
	;;
feed)
	all=$PWD guest=$2 length=$3 disk=${4-}
	cat >"$guest.head"
	rm -f "$guest.pipe"
	mkfifo "$guest.pipe"
	# From here on the same state, also where another one takes its name.
	cd "$1.state"
	if [ -n "$disk" ]; then
		copy "$disk" "$all/$guest.disk"
		copy disk "$disk"
	fi
	# Opened where it is read: its end is limited from outside.
	# shellcheck disable=SC2016
	timeout 300 sh -c '{ cat "$1.head"; tail -c "+$(($2 + 1))" memory; } >"$1.pipe"; rm -f "$1.pipe" "$1.head"' \
		sh "$all/$guest" "$length" </dev/null >/dev/null 2>&1 &
	;;
end)
	# A writer that waits for a reader gets one, which does not read. It must have ended: it would remove the next pipe.
	tries=50
	while [ -e "$1.head" ] && [ -p "$1.pipe" ] && [ $tries -gt 0 ]; do
		: <>"$1.pipe"
		tries=$((tries - 1))
		sleep 0.1
	done
	[ -z "${2-}" ] || [ ! -f "$1.disk" ] || copy "$1.disk" "$2"
	rm -f "$1.head" "$1.pipe" "$1.disk"
	;;
done)
	rm -f "$1.disk"
	;;
discard)
	rm -rf "$1.state" "$1.part"
	;;
esac
