# shellcheck shell=dash
# In a guest that was restored: sets the clock, which shows the time of saving, adds to the random numbers, which are those of
# every guest of the same state, and waits for the NICs. Arguments: seconds since 1970, 32 hexadecimal digits that are different in
# every guest, MAC addresses.
wake() {
	date -s "@$1" >/dev/null
	echo "$2" >/dev/urandom
	shift 2
	for mac; do
		tries=50
		until grep -qi "$mac" /sys/class/net/*/address; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] || { echo "netlab-missing $mac"; return 1; }
			sleep 0.1
		done
	done
}
