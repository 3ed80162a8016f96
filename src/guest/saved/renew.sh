# shellcheck shell=dash
# In a guest with cloud-init that was restored, as root: has cloud-init read the guest's own seed disk, and do everything that it does
# at the first boot. Prints why not.
stage() {
	echo "$*" >/run/netlab/ask
	# What failed is in what cloud-init records.
	read -r _ </run/netlab/answer
}
refused() { echo "netlab-said $1"; return 1; }
# Programs that read cloud-init's network configuration only as they start. That a network is complete, also IPv6, takes them longer than
# that it can be used: 12 s without a router (RFC 4861, MAX_RTR_SOLICITATIONS).
restart_network() {
	! command -v netplan || netplan generate
	for unit in systemd-networkd NetworkManager networking; do
		! systemctl -q is-active $unit || systemctl restart $unit
	done
	for unit in systemd-networkd-wait-online NetworkManager-wait-online; do
		! systemctl -q is-active $unit || systemctl --no-block restart $unit
	done
} >/dev/null
renew() {
	[ -p /run/netlab/ask ] || { refused "cloud-init is not prepared"; return; }
	disk=$(readlink -f /dev/disk/by-label/cidata)
	[ -b "$disk" ] || disk=$(blkid -L cidata)
	# What was read of the other disk at this place.
	blockdev --flushbufs "$disk" || { refused "the seed disk is not found"; return; }
	stage init --local
	case $(cat /run/cloud-init/.instance-id) in
	netlab-blank | "") refused "cloud-init does not read the seed disk"; return;;
	esac
	restart_network
	stage init
	# The journal is in a folder named by the machine ID; all that is there is of the guest that was saved.
	rm -rf /var/log/journal/*
	# shellcheck disable=SC2046
	systemctl --no-block restart systemd-journald $(cat /run/netlab/units)
	stage modules --mode=config
	echo last modules --mode=final >/run/netlab/ask
}
