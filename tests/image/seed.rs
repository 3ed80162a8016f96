//! Seed disks are readable by other programs: blkid, the kernel's ISO 9660 through a loop mount, and xorriso.

use std::path::Path;
use std::process::Command;

use netlab::libvirt::seed::{Seed, SeedNic};

use crate::support::skip;

fn seed() -> Seed {
    Seed {
        instance: "quickstart.vm1".to_owned(),
        hostname: "vm1".to_owned(),
        nics: vec![SeedNic {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            address: Some("10.0.0.2/24".parse().unwrap()),
            gateway: Some([10, 0, 0, 1].into()),
            mtu: None,
        }],
        nameservers: vec!["9.9.9.9".parse().unwrap()],
        // Longer than a sector.
        user_data: format!("#cloud-config\n# {}\n", "x".repeat(5000)),
    }
}

fn same(folder: &Path) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let seed = seed();
    assert_eq!(read("meta-data"), seed.meta_data());
    assert_eq!(read("network-config"), seed.network_config());
    assert_eq!(read("user-data"), seed.user_data);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 3);
}

#[test]
fn blkid_finds_the_label_that_cloud_init_requires() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed.iso");
    std::fs::write(&path, seed().disk()).unwrap();
    let found = Command::new("blkid")
        .args(["-p", "-o", "export"])
        .arg(&path)
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(
        found.contains("LABEL=cidata\n") && found.contains("TYPE=iso9660\n"),
        "{found}"
    );
}

#[test]
fn linux_mounts_it_and_finds_the_files_by_their_long_names() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mounted) = (folder.path().join("seed.iso"), folder.path().join("mounted"));
    std::fs::write(&path, seed().disk()).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    let mount = Command::new("mount")
        .args(["-o", "loop,ro", "-t", "iso9660"])
        .arg(&path)
        .arg(&mounted)
        .output()
        .unwrap();
    if !mount.status.success() {
        let why = String::from_utf8_lossy(&mount.stderr);
        skip("linux_mounts_it_and_finds_the_files_by_their_long_names", why.trim());
        return;
    }
    let result = std::panic::catch_unwind(|| same(&mounted));
    assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
    result.unwrap();
}

#[test]
fn xorriso_reads_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("seed.iso"), folder.path().join("out"));
    std::fs::write(&path, seed().disk()).unwrap();
    let read = Command::new("xorriso")
        .args(["-osirrox", "on", "-indev"])
        .arg(&path)
        .args(["-extract", "/"])
        .arg(&out)
        .output();
    let Ok(read) = read else {
        skip("xorriso_reads_it_back", "xorriso is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
    same(&out);
}
