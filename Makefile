# make demo    build, then a running lab on two emulated hosts
# make test    every test but the long ones, and lint
# make soak    the long tests
# make lint    format, clippy, shellcheck, licenses; part of `make test`
# make bench   speed, as ratios within one run
# make setup   install the Debian packages that are missing
# make install binary, manual pages, completions and example labs below PREFIX, after `make build`
# make deb     a Debian package in target/debian
#
# Works as root, or as a user who may use sudo.

SHELL   := bash
.SHELLFLAGS := -euo pipefail -c
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
LAB     := labs/quickstart.toml
NETLAB  := target/release/netlab
PREFIX  := /usr/local
DESTDIR :=
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

# Debian packages by what they are for: building, running, testing.
BUILD   := gcc make pkg-config libvirt-dev libssl-dev zlib1g-dev
RUN     := libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils \
           iproute2 iputils-ping nftables dnsmasq-base util-linux procps
TEST    := ovmf busybox-static cpio e2fsprogs socat openssh-server openssh-client user-mode-linux kmod tcpdump \
           openvswitch-switch bzip2 gzip xz-utils zstd xorriso shellcheck dpkg-dev sudo mmdebstrap fdisk

# Runs the tests; without optimization it is built in half the time and runs as fast.
NEXTEST := 0.9.143

.PHONY: demo test soak bench setup nextest build install deb lint clean

demo: setup build
	$(SUDO) $(NETLAB) up $(LAB)
	$(SUDO) $(NETLAB) verify $(LAB)
	@printf '\nThe lab is up. Try next:\n\n'
	@printf '    %s\n' "$(strip $(SUDO) $(NETLAB) status quickstart)" \
	    "$(strip $(SUDO) $(NETLAB) plan $(LAB))" "$(strip $(SUDO) $(NETLAB) down quickstart)"

build:
	cargo build --release --locked

# Debian's packages have zsh's completions in another folder than /usr/local.
SHARE   := $(DESTDIR)$(PREFIX)/share
ZSH     := $(SHARE)/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

install:
	@[ -x $(NETLAB) ] || { echo 'there is no $(NETLAB); run `make build` first' >&2; exit 1; }
	install -D -m 755 $(NETLAB) $(DESTDIR)$(PREFIX)/bin/netlab
	install -d $(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(ZSH) $(SHARE)/fish/vendor_completions.d \
	    $(SHARE)/doc/netlab/docs $(SHARE)/doc/netlab/examples
	$(NETLAB) man --dir $(SHARE)/man/man1
	install -d $(SHARE)/man/man5
	mv $(SHARE)/man/man1/netlab.toml.5 $(SHARE)/man/man5/
	$(NETLAB) completions bash >$(SHARE)/bash-completion/completions/netlab
	$(NETLAB) completions zsh >$(ZSH)/_netlab
	$(NETLAB) completions fish >$(SHARE)/fish/vendor_completions.d/netlab.fish
	install -m 644 README.md CHANGELOG.md $(SHARE)/doc/netlab/
	install -m 644 docs/*.md $(SHARE)/doc/netlab/docs/
	install -m 644 labs/*.toml $(SHARE)/doc/netlab/examples/

deb: setup build
	packaging/deb $(NETLAB) target/debian $(RUN)

# Built unprivileged, run as root: tests create namespaces, links and daemons of their own.
# `lint` runs beside the tests, which wait more than they compute.
test: setup nextest
	cargo fmt --check
	./tests/run-all

# A browser draws the pages of `verify`.
soak: TEST += chromium
soak: setup nextest
	./tests/run-all soak

lint:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	shellcheck .ci/run benches/run-all tests/run-all tests/support/build-guest packaging/deb $$(git ls-files '*.sh')
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: not checked"; fi

nextest:
	@cargo nextest --version >/dev/null 2>&1 || \
	  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
	  CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --locked cargo-nextest@$(NEXTEST)

bench: setup build
	$(SUDO) env NETLAB=$(NETLAB) ./benches/run-all

# One apt-get for the missing packages; no network access if none is missing. All packages of QEMU must have the same
# version: where a newer qemu-utils is installed, it is downgraded to the distribution's version, or removed by the
# first apt-get and installed by the second.
setup:
	@for round in 1 2; do \
	  missing=(); for package in $(BUILD) $(RUN) $(TEST); do \
	    dpkg-query -W -f '$${db:Status-Abbrev}' "$$package" 2>/dev/null | grep -q '^ii' || missing+=("$$package"); done; \
	  command -v cargo >/dev/null || missing+=(cargo); \
	  [ "$${#missing[@]}" -gt 0 ] || break; \
	  echo "installing: $${missing[*]}"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) apt-get install -yqq --no-install-recommends "$${missing[@]}" >/dev/null || { \
	    qemu=$$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ {print $$2}'); \
	    $(SUDO) apt-get install -yqq --no-install-recommends --allow-downgrades \
	      "$${missing[@]}" "qemu-system-x86=$$qemu" "qemu-utils=$$qemu" >/dev/null; }; \
	done
	@cargo --version | awk '{ split($$2, v, "."); if (v[1] == 1 && v[2] < 88) { \
	  print "netlab needs Rust 1.88 or newer, this is " $$2 ": see https://rustup.rs"; exit 1 } }'

clean:
	cargo clean
