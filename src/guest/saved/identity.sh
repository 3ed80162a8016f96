# shellcheck shell=dash
# What is on a guest's disk and has to be different in every guest. It is removed before the guest is saved, and made in each that was
# restored; one that boots from that disk makes it by itself.
forget_identity() {
	rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/dropbear/dropbear_*_host_key /var/lib/systemd/random-seed
	[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
	[ ! -s /etc/machine-id ] || : >/etc/machine-id
}
# Argument: 32 hexadecimal digits that are different in every guest (machine-id(5)).
new_machine_id() {
	[ ! -e /etc/machine-id ] || [ -s /etc/machine-id ] || echo "$1" >/etc/machine-id
}
new_identity() {
	new_machine_id "$1"
	if [ -d /etc/ssh ] && command -v ssh-keygen >/dev/null && ! ls /etc/ssh/ssh_host_*_key >/dev/null; then
		ssh-keygen -A >/dev/null
		[ ! -f /run/sshd.pid ] || kill -HUP "$(cat /run/sshd.pid)"
	fi
	true
}
