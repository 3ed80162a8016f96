# shellcheck shell=sh
# The folder of saved states on a host: KIND.state is complete; GUEST.part is being saved, GUEST.head and GUEST.pipe are what
# a guest is restored by. Names have no character that a shell or a pattern acts on. Arguments: what to do, the folder, and:
#   head    KIND               prints the head of a state, which counts as used now
#   feed    KIND GUEST LENGTH  makes GUEST.pipe, to be read once: standard input, then the state without its first LENGTH bytes
#   end     GUEST              ends what feeds that, and removes it
#   make    MOST               makes the folder, and removes what nobody has used for 30 days, what was left by a process that was
#                              killed, and of the rest what was used the longest ago, as far as it is more than MOST bytes
#   keep    GUEST KIND         makes what was saved the state of its kind
#   discard NAME               removes NAME.state or NAME.part
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
case $what in
head)
	[ -f "$1.state" ] || exit 3
	touch -c "$1.state"
	# libvirt's src/qemu/qemu_saveimage.h: a header of 92 bytes, in it at byte 20 the length of what follows.
	length=$(od -An -tu4 -j20 -N4 "$1.state" | tr -d ' ')
	head -c "$((92 + ${length:-0}))" "$1.state" | head -c 16777308
	;;
feed)
	cat >"$2.head"
	rm -f "$2.pipe"
	mkfifo "$2.pipe"
	# Opened where it is read: its end is limited from outside.
	# shellcheck disable=SC2016
	timeout 300 sh -c '{ cat "$2.head"; tail -c "+$(($3 + 1))" "$1.state"; } >"$2.pipe"; rm -f "$2.head" "$2.pipe"' \
		sh "$1" "$2" "$3" </dev/null >/dev/null 2>&1 &
	;;
end)
	# A writer that waits for a reader gets one, which does not read.
	[ ! -p "$1.pipe" ] || : <>"$1.pipe"
	rm -f "$1.head" "$1.pipe"
	;;
make)
	find . -maxdepth 1 ! -type d -name '*.state' -mtime +29 -exec rm -f {} +
	find . -maxdepth 1 ! -type d ! -name '*.state' -mmin +60 -exec rm -f {} +
	kept=0
	# shellcheck disable=SC2012
	ls -t | sed -n 's/\.state$//p' | while read -r kind; do
		kept=$((kept + $(stat -c %s "$kind.state")))
		[ "$kept" -le "$1" ] || rm -f "$kind.state"
	done
	;;
keep)
	# It has the guest's whole memory.
	chmod 0600 "$1.part"
	mv "$1.part" "$2.state"
	;;
discard)
	rm -f "$1.state" "$1.part"
	;;
esac
