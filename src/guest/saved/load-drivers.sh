# shellcheck shell=dash
# Loads the drivers of NICs that will be plugged in: netlab's own guest has its modules and their order in a folder, others
# have modprobe or load them when the NIC appears. Arguments: names of modules.
load_drivers() {
	for driver; do
		if [ -e "/modules/$driver.order" ]; then
			while read -r module; do
				[ -e "/sys/module/$module" ] || insmod "/modules/$module.ko"
			done <"/modules/$driver.order"
		else
			modprobe -q "$driver"
		fi
	done
	true
}
