//! `make install` and the Debian package, built from the binary under test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{skip, sources};

/// Files that a user of the package gets, besides one manual page per command.
const FILES: &[&str] = &[
    "usr/bin/netlab",
    "usr/share/bash-completion/completions/netlab",
    "usr/share/doc/netlab/changelog.gz",
    "usr/share/doc/netlab/copyright",
    "usr/share/doc/netlab/examples/quickstart.toml",
    "usr/share/fish/vendor_completions.d/netlab.fish",
    "usr/share/man/man1/netlab.1.gz",
    "usr/share/man/man1/netlab-up.1.gz",
    "usr/share/man/man5/netlab.toml.5.gz",
    "usr/share/zsh/vendor-completions/_netlab",
];

/// Returns the packages that the Makefile lists in its variable `RUN`.
fn run_packages() -> Vec<String> {
    let makefile = sources::read("Makefile").replace("\\\n", " ");
    let line = makefile
        .lines()
        .find_map(|line| line.strip_prefix("RUN "))
        .expect("a variable RUN");
    let packages = line.trim_start().trim_start_matches(":=");
    packages.split_whitespace().map(str::to_owned).collect()
}

/// Runs a command, insists on success, returns its standard output.
fn good(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}{errors}",
        output.status
    );
    printed
}

#[test]
fn make_install_puts_each_file_where_debian_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    let mut make = Command::new("make");
    make.current_dir(sources::root()).args(["install", "PREFIX=/usr"]);
    good(
        make.arg(format!("DESTDIR={root}"))
            .arg(format!("NETLAB={}", env!("CARGO_BIN_EXE_netlab"))),
    );
    let binary = folder.path().join("usr/bin/netlab");
    assert_eq!(binary.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    for file in FILES {
        // Compressed, and `copyright`: the package only.
        let file = file
            .trim_end_matches(".gz")
            .replace("doc/netlab/changelog", "doc/netlab/CHANGELOG.md");
        if !file.ends_with("copyright") {
            let size = folder.path().join(&file).metadata().map_or(0, |data| data.len());
            assert!(size > 0, "{file} is missing or empty");
        }
    }
    let bash = folder.path().join("usr/share/bash-completion/completions/netlab");
    good(Command::new("bash").arg("-n").arg(bash));
}

#[test]
fn the_debian_package_installs_runs_and_is_removed_again() {
    let test = "the_debian_package_installs_runs_and_is_removed_again";
    let tools = ["/usr/bin/dpkg-deb", "/usr/bin/dpkg-shlibdeps"];
    if !rustix::process::geteuid().is_root() || !tools.iter().all(|tool| Path::new(tool).is_file()) {
        skip(test, "needs root, dpkg-deb and dpkg-shlibdeps");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new(sources::root().join("packaging/deb"));
    build.arg(env!("CARGO_BIN_EXE_netlab")).arg(folder.path());
    // A debug binary is large, and compression is dpkg-deb's affair.
    build.env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    let package = good(build.args(run_packages()));
    let package = package.trim();

    let field = |name: &str| good(Command::new("dpkg-deb").args(["--field", package, name]));
    let depends = field("Depends");
    for needed in ["libc6", "libvirt0", "libssl3", "zlib1g", "nftables", "qemu-system-x86"] {
        let mut names = depends
            .split([',', '|'])
            .filter_map(|one| one.split_whitespace().next());
        assert!(names.any(|name| name == needed), "{needed} is not in: {depends}");
    }
    let contents = good(Command::new("dpkg-deb").args(["--contents", package]));
    for file in FILES {
        assert!(
            contents.contains(&format!("./{file}\n")),
            "{file} is not in:\n{contents}"
        );
    }

    // The machine's own root, seen through an overlay that keeps all changes in memory and goes with its namespace:
    // dpkg checks the dependencies against the packages that are really there.
    let script = r#"
        set -eu
        mount -t tmpfs netlab-package "$1/overlay"
        mkdir "$1/overlay/upper" "$1/overlay/work" "$1/overlay/root"
        mount -t overlay -o "lowerdir=/,upperdir=$1/overlay/upper,workdir=$1/overlay/work" overlay "$1/overlay/root"
        cp "$2" "$1/overlay/root/netlab.deb"
        mount -t proc proc "$1/overlay/root/proc"
        exec chroot "$1/overlay/root" sh -euc '
            dpkg --no-triggers --install /netlab.deb >/dev/null
            netlab --version
            netlab man | grep -c "^.TH netlab"
            gzip -dc /usr/share/man/man1/netlab-up.1.gz | grep -c "^.TH"
            cd /usr/share/doc/netlab/examples
            NETLAB_STATE_DIR=/nowhere netlab graph quickstart.toml | head -1
            dpkg --no-triggers --purge netlab >/dev/null
            ! [ -e /usr/bin/netlab ]
            ! [ -e /usr/share/doc/netlab ]
            echo removed'
    "#;
    std::fs::create_dir(folder.path().join("overlay")).unwrap();
    let mut chroot = Command::new("unshare");
    chroot
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(package);
    let printed = good(&mut chroot);
    let lines: Vec<&str> = printed.lines().collect();
    let version = format!("netlab {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines[..3], [version.as_str(), "1", "1"], "{printed}");
    assert_eq!(lines.last(), Some(&"removed"), "{printed}");
}
