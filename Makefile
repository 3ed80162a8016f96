# make demo    a running lab on two emulated hosts, from nothing
# make test    every test but those of `make slow`
# make slow    those tests that take too long for every run
# make bench   speed, as ratios within one run
# make setup   only the packages that are missing
#
# Works as root, or as a user who may sudo.

SHELL   := bash
.SHELLFLAGS := -euo pipefail -c
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
LAB     := labs/quickstart.toml
NETLAB  := target/release/netlab
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

# Debian packages by what they are for: building, running, testing.
BUILD   := gcc make pkg-config libvirt-dev libssl-dev zlib1g-dev
RUN     := libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils \
           iproute2 iputils-ping nftables dnsmasq-base util-linux procps
TEST    := busybox-static cpio e2fsprogs socat openssh-server user-mode-linux kmod tcpdump bzip2 gzip xz-utils zstd xorriso

.PHONY: demo test slow bench setup build lint clean

demo: setup build
	$(SUDO) $(NETLAB) up $(LAB)
	$(SUDO) $(NETLAB) verify $(LAB)
	@printf '\nThe lab is up. What one would type next:\n\n'
	@printf '    %s\n' "$(strip $(SUDO) $(NETLAB) status quickstart)" \
	    "$(strip $(SUDO) $(NETLAB) plan $(LAB))" "$(strip $(SUDO) $(NETLAB) down quickstart)"

build:
	cargo build --release --locked

# Unprivileged to build, root to run: tests make namespaces, links and daemons of their own.
test: setup lint
	./tests/run-all

slow: setup
	[ -z "$(SUDO)" ] || export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(SUDO)"; \
	cargo test --locked --test uml -- --ignored

lint:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

bench: setup build
	$(SUDO) env NETLAB=$(NETLAB) ./benches/run-all

# One apt-get for what is missing; nothing is asked of the network where nothing is. QEMU's parts must be of one
# version: where a newer qemu-utils stands in the way of the distribution's QEMU, it is set to the same version.
setup:
	@missing=(); for package in $(BUILD) $(RUN) $(TEST); do \
	  dpkg-query -W -f '$${db:Status-Abbrev}' "$$package" 2>/dev/null | grep -q '^ii' || missing+=("$$package"); done; \
	command -v cargo >/dev/null || missing+=(cargo); \
	if [ "$${#missing[@]}" -gt 0 ]; then \
	  echo "installing: $${missing[*]}"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) apt-get install -yqq --no-install-recommends "$${missing[@]}" >/dev/null || { \
	    qemu=$$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ {print $$2}'); \
	    $(SUDO) apt-get install -yqq --no-install-recommends --allow-downgrades \
	      "$${missing[@]}" "qemu-system-x86=$$qemu" "qemu-utils=$$qemu" >/dev/null; }; \
	fi
	@cargo --version | awk '{ split($$2, v, "."); if (v[1] == 1 && v[2] < 88) { \
	  print "netlab needs Rust 1.88 or newer, this is " $$2 ": see https://rustup.rs"; exit 1 } }'

clean:
	cargo clean
