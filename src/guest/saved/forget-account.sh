# shellcheck shell=dash
# In a guest with cloud-init that will be saved, as root: removes the account that was made for this, the keys that sshd has in its
# memory, and all that cloud-init remembers. Argument: the account.
forget_account() {
	mkdir -p /run/netlab
	for unit in ssh.service sshd.service; do
		systemctl -q is-active $unit && systemctl stop $unit && echo $unit
	done >/run/netlab/units
	# Its shell has become root's.
	userdel -f "$1"
	sed -i "/$1/d" /etc/sudoers.d/90-cloud-init-users
	cloud-init clean --logs
	for log in wtmp lastlog; do
		[ ! -f /var/log/$log ] || : >/var/log/$log
	done
	[ ! -s /etc/machine-id ] || rm -rf "/var/log/journal/$(cat /etc/machine-id)"
}
