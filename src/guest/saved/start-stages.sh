# shellcheck shell=dash
# Starts stages.py, which then waits. It outlives the console's shell, with which systemd ends all that belongs to it. Argument: the file.
start_stages() {
	mkfifo /run/netlab/ask /run/netlab/answer
	mv "$1" /run/netlab/stages.py
	python=$(sed -n '1s/^#! *//p' "$(command -v cloud-init)")
	# The interpreter may have arguments.
	# shellcheck disable=SC2086
	set -- ${python:-python3} /run/netlab/stages.py /run/netlab
	if command -v systemd-run >/dev/null; then
		systemd-run --quiet --collect --unit=netlab-stages "$@"
	else
		setsid "$@" &
	fi
	read -r said </run/netlab/answer
	[ "$said" = ready ] || { echo "netlab-said $said"; return 1; }
}
