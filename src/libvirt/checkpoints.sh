# shellcheck shell=sh
# Files of checkpoints: one folder per lab, in it one per checkpoint, in it those of each guest, VM.state (libvirt's file of a
# saved domain), the guest's disks under their own names, and VM.sums, written last: cksum(1) of the others. Names have no
# character that a shell or a pattern acts on. Arguments: what to do, the folder of the lab's checkpoints, and:
#   copy    CHECKPOINT VM FOLDER-OF-DISKS [DISK...]  makes the folder and copies disks into it
#   sum     CHECKPOINT VM TEXT                       records what is there, after the line TEXT
#   check   CHECKPOINT VM                            prints the record, an empty line, and the same of what is there now
#   stage   CHECKPOINT VM FOLDER-OF-DISKS [DISK...]  copies disks beside what was saved, to be moved
#   replace CHECKPOINT VM FOLDER-OF-DISKS [DISK...]  moves them over the disks
#   delete  CHECKPOINT VM                            deletes what the checkpoint has of the VM
#   forget  VM                                       deletes what all checkpoints have of it
#   needed  FOLDER-OF-DISKS                          prints how many KiB are free, and how many the disks have
#   stored  CHECKPOINT                               prints how many KiB are free, and how many the checkpoint's disks have
set -e
umask 077
what=$1 all=$2
shift 2
free() {
	d=$all
	while [ ! -d "$d" ]; do d=$(dirname "$d"); done
	df -Pk "$d" | awk 'NR == 2 { print $4 }'
}
case $what in
copy | stage | replace)
	dir=$all/$1 vm=$2 disks=$3
	shift 3
	[ "$what" != copy ] || mkdir -p "$dir"
	for disk; do
		case $what in
		copy) cp --reflink=auto --sparse=always -- "$disks/$disk" "$dir/$vm.disk.$disk" ;;
		stage) cp --reflink=auto --sparse=always -- "$dir/$vm.disk.$disk" "$dir/$vm.staged.$disk" ;;
		replace) mv -f -- "$dir/$vm.staged.$disk" "$disks/$disk" ;;
		esac
	done
	;;
sum)
	cd "$all/$1"
	chmod 0600 "$2".*
	{
		printf '%s\n' "$3"
		for file in "$2.state" "$2".disk.*; do [ ! -e "$file" ] || cksum "$file"; done
	} >"$2.part"
	mv "$2.part" "$2.sums"
	;;
check)
	cd "$all/$1"
	cat "$2.sums"
	echo
	awk 'NR > 1 { print $3 }' "$2.sums" | while read -r file; do cksum "$file" || true; done
	;;
delete)
	[ -d "$all" ] || exit 0
	rm -f -- "$all/$1/$2".*
	rmdir -- "$all/$1" "$all" 2>/dev/null || true
	;;
forget)
	[ -d "$all" ] || exit 0
	rm -f -- "$all"/*/"$1".*
	rmdir -- "$all"/* "$all" 2>/dev/null || true
	;;
needed)
	free
	{ [ -d "$1" ] && du -sk "$1" || echo 0; } | awk '{ print $1 }'
	;;
stored)
	free
	du -ck "$all/$1"/*.disk.* 2>/dev/null | awk 'END { print $1 + 0 }'
	;;
esac
