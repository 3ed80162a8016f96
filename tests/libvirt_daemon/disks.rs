//! Guests' disks: overlays over a base that is never written and whose format is never guessed.

use std::path::PathBuf;

use netlab::lab::Boot;
use netlab::state::{Disk, DiskName, DomainDisk, GuestConfig, Volume};

use super::daemon::{Daemon, console, guest};

/// Creates a base image inside the daemon's /var/lib/libvirt.
fn base(daemon: &Daemon, format: &str) -> Volume {
    let file = format!("/var/lib/libvirt/base.{format}");
    daemon.sh(&format!(
        "qemu-img create -q -f {format} {file} 32M && touch -d 2020-01-01 {file}"
    ));
    Volume {
        base: PathBuf::from(file),
        base_format: format.to_owned(),
    }
}

fn boot(volume: &Volume) -> Boot {
    Boot::Disk {
        base: volume.base.clone(),
        format: volume.base_format.clone(),
    }
}

/// The folder of the lab's disks.
fn pool(daemon: &Daemon) -> String {
    format!("/var/lib/libvirt/images/netlab.{}/", daemon.lab)
}

/// Checks that no pool, folder or file is left.
fn assert_nothing_is_left(daemon: &Daemon) {
    assert_eq!(daemon.sh("virsh pool-list --all --name").trim(), "");
    assert_eq!(
        daemon.sh("ls -A /var/lib/libvirt/images /etc/libvirt/storage 2>/dev/null | grep netlab || true"),
        ""
    );
}

#[test]
fn a_guest_starts_from_an_overlay_and_nothing_is_left_when_it_is_removed() {
    let Some(daemon) = Daemon::new("a_guest_starts_from_an_overlay_and_nothing_is_left_when_it_is_removed") else {
        return;
    };
    let libvirt = daemon.libvirt();
    for (vm, format) in [("a", "raw"), ("b", "qcow2")] {
        let (name, volume) = (daemon.name(vm), base(&daemon, format));
        let before = daemon.sh(&format!("sha256sum {}", volume.base.display()));
        libvirt.create_volume(&name, &volume).unwrap();
        let wanted = guest(&name, Some(boot(&volume)), &[]);
        let size = || {
            daemon.sh(&format!(
                "qemu-img info {}{name}.qcow2 | grep '^virtual size'",
                pool(&daemon)
            ))
        };
        for (mib, wanted) in [(64, "64 MiB"), (48, "64 MiB"), (64, "64 MiB")] {
            libvirt.grow_volume(&name, mib).unwrap();
            assert!(size().contains(wanted), "{}", size());
        }
        libvirt.define(&name, &wanted).unwrap();
        libvirt.start_paused(&name).unwrap();
        libvirt.resume(&name).unwrap();
        let seen = libvirt.observe(&daemon.lab).unwrap();
        assert_eq!(seen.volumes[&name], volume);
        assert!(seen.domains[&name].running);
        assert_eq!(seen.domains[&name].boot, wanted.boot);
        assert_eq!(seen.domains[&name].disk_bus, "virtio");
        libvirt.stop(&name, &wanted.uuid).unwrap();
        assert_eq!(libvirt.observe(&daemon.lab).unwrap().domains[&name], wanted);
        libvirt.undefine(&name, &wanted.uuid).unwrap();
        libvirt.delete_volume(&name).unwrap();
        libvirt.delete_volume(&name).unwrap();
        assert_eq!(daemon.sh(&format!("sha256sum {}", volume.base.display())), before);
        assert_nothing_is_left(&daemon);
    }
}

#[test]
fn further_disks_are_created_grown_and_deleted_and_the_file_under_one_is_never_written() {
    let Some(daemon) =
        Daemon::new("further_disks_are_created_grown_and_deleted_and_the_file_under_one_is_never_written")
    else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, volume) = (daemon.name("a"), base(&daemon, "raw"));
    let before = daemon.sh(&format!("sha256sum {}", volume.base.display()));
    let disks = [Disk::Blank { mib: 64 }, Disk::Over(volume.clone())];
    let names = [1, 2].map(|number| DiskName::new(&name, number));
    for (disk, name) in disks.iter().zip(&names) {
        libvirt.create_disk(name, disk).unwrap();
    }
    let mut wanted = guest(&name, None, &[]);
    wanted.disk_bus = "virtio".to_owned();
    wanted.disks = vec![
        DomainDisk { number: 1, over: None },
        DomainDisk {
            number: 2,
            over: Some(volume.clone()),
        },
    ];
    libvirt.define(&name, &wanted).unwrap();
    let seen = libvirt.observe(&daemon.lab).unwrap();
    assert_eq!(seen.domains[&name], wanted);
    let observed: Vec<_> = seen.disks.values().cloned().collect();
    assert_eq!(observed, disks);
    for mib in [128, 96] {
        libvirt.grow_disk(&names[0], mib).unwrap();
        let seen = libvirt.observe(&daemon.lab).unwrap();
        assert_eq!(seen.disks[&names[0]], Disk::Blank { mib: 128 });
    }
    libvirt.start_paused(&name).unwrap();
    libvirt.stop(&name, &wanted.uuid).unwrap();
    daemon.sh("printf x | dd of=/var/lib/libvirt/base.raw conv=notrunc status=none");
    let error = libvirt.start_paused(&name).unwrap_err().to_string();
    assert!(error.contains("base.raw changed after"), "{error}");
    daemon.sh("printf '\\0' | dd of=/var/lib/libvirt/base.raw conv=notrunc status=none");
    libvirt.undefine(&name, &wanted.uuid).unwrap();
    for name in names.iter().chain(&names) {
        libvirt.delete_disk(name).unwrap();
    }
    assert_eq!(daemon.sh(&format!("sha256sum {}", volume.base.display())), before);
    assert_nothing_is_left(&daemon);
    // As after a run that was killed between the record and the disk.
    libvirt.create_disk(&names[1], &disks[1]).unwrap();
    daemon.sh("rm /var/lib/libvirt/images/netlab.demo/demo.a.2.qcow2");
    libvirt.settle(&daemon.lab).unwrap();
    assert_nothing_is_left(&daemon);
}

#[test]
fn nothing_is_left_of_a_disk_that_was_deleted_by_hand() {
    let Some(daemon) = Daemon::new("nothing_is_left_of_a_disk_that_was_deleted_by_hand") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, volume) = (daemon.name("a"), base(&daemon, "raw"));
    libvirt.create_volume(&name, &volume).unwrap();
    let wanted = guest(&name, Some(boot(&volume)), &[]);
    libvirt.define(&name, &wanted).unwrap();
    daemon.sh("rm /var/lib/libvirt/images/netlab.demo/demo.a.qcow2");
    // A run observes before it acts.
    assert!(libvirt.observe(&daemon.lab).unwrap().volumes.is_empty());
    libvirt.undefine(&name, &wanted.uuid).unwrap();
    assert_nothing_is_left(&daemon);
}

#[test]
fn a_raw_base_with_a_qcow2_header_is_not_interpreted() {
    let Some(daemon) = Daemon::new("a_raw_base_with_a_qcow2_header_is_not_interpreted") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, mut volume) = (daemon.name("a"), base(&daemon, "raw"));
    // A disk whose first bytes are those of an overlay on top of a secret file.
    daemon.sh("echo secret > /var/lib/libvirt/secret; truncate -s 32M /var/lib/libvirt/secret");
    volume.base = "/var/lib/libvirt/trap".into();
    daemon.sh("cd /var/lib/libvirt && qemu-img create -q -f qcow2 -b secret -F raw trap");
    libvirt.create_volume(&name, &volume).unwrap();
    libvirt.define(&name, &guest(&name, Some(boot(&volume)), &[])).unwrap();
    libvirt.start_paused(&name).unwrap();
    let live = daemon.sh("virsh dumpxml demo.a");
    assert!(!live.contains("/secret"), "{live}");
    let opened = daemon.sh("ls -l /proc/$(cat /run/libvirt/qemu/demo.a.pid)/fd");
    assert!(opened.contains("/trap") && !opened.contains("/secret"), "{opened}");
}

#[test]
fn a_base_that_is_missing_or_refers_to_another_file_is_an_error() {
    let Some(daemon) = Daemon::new("a_base_that_is_missing_or_refers_to_another_file_is_an_error") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let name = daemon.name("a");
    let raw = base(&daemon, "raw");
    daemon.sh("cd /var/lib/libvirt && qemu-img create -q -f qcow2 -b base.raw -F raw backed");
    daemon.sh("cd /var/lib/libvirt && qemu-img create -q -f qcow2 -o data_file=there.raw split 32M");
    for (file, format, wanted) in [
        ("/var/lib/libvirt/backed", "qcow2", "refers to another file"),
        ("/var/lib/libvirt/split", "qcow2", "refers to another file"),
        ("/var/lib/libvirt/base.raw", "qcow2", "not a qcow2 file"),
        (
            "/var/lib/libvirt/base.raw",
            "vmdk",
            "format vmdk, which is neither raw nor qcow2",
        ),
        ("/var/lib/libvirt/nothing", "raw", "does not exist"),
        ("/var/lib/libvirt/nothing", "qcow2", "nothing"),
        ("json:{\"file\":1}", "raw", "no absolute path"),
    ] {
        let volume = Volume {
            base: file.into(),
            base_format: format.to_owned(),
        };
        let error = libvirt.create_volume(&name, &volume).unwrap_err().to_string();
        assert!(error.contains(wanted), "{file}: {error}");
        assert_nothing_is_left(&daemon);
    }
    libvirt.create_volume(&name, &raw).unwrap();
}

/// FAULTS 29.
#[test]
fn a_domain_whose_base_was_changed_under_its_overlay_is_not_started() {
    let Some(daemon) = Daemon::new("a_domain_whose_base_was_changed_under_its_overlay_is_not_started") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, volume) = (daemon.name("a"), base(&daemon, "raw"));
    libvirt.create_volume(&name, &volume).unwrap();
    libvirt.define(&name, &guest(&name, Some(boot(&volume)), &[])).unwrap();
    daemon.sh("printf x | dd of=/var/lib/libvirt/base.raw conv=notrunc status=none");
    let error = libvirt.start_paused(&name).unwrap_err();
    assert!(error.to_string().contains("base.raw changed after"), "{error}");
    assert!(error.help().unwrap().contains("netlab down"), "{error:?}");
    assert!(!libvirt.observe(&daemon.lab).unwrap().domains[&name].running);
    // The original file, restored.
    daemon.sh("printf '\\0' | dd of=/var/lib/libvirt/base.raw conv=notrunc status=none");
    daemon.sh("touch -d 2020-01-01 /var/lib/libvirt/base.raw");
    libvirt.start_paused(&name).unwrap();
}

#[test]
fn nothing_is_left_where_a_disk_could_not_be_created() {
    let Some(daemon) = Daemon::new("nothing_is_left_where_a_disk_could_not_be_created") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, volume) = (daemon.name("a"), base(&daemon, "raw"));
    // Enough space for a folder and a record, not for the tables of an overlay.
    daemon.sh("mkdir -p /var/lib/libvirt/images && mount -t tmpfs -o size=24k tmpfs /var/lib/libvirt/images");
    let error = libvirt.create_volume(&name, &volume).unwrap_err().to_string();
    assert!(error.contains("create the disk of domain demo.a"), "{error}");
    assert_nothing_is_left(&daemon);
    // An existing disk stays, with its record.
    let room = |size: &str| daemon.sh(&format!("mount -o remount,size={size} /var/lib/libvirt/images"));
    room("4M");
    libvirt.create_volume(&name, &volume).unwrap();
    room("$(df -k --output=used /var/lib/libvirt/images | tail -1 | tr -d ' ')k");
    assert!(libvirt.create_volume(&daemon.name("b"), &volume).is_err());
    assert_eq!(
        daemon.sh("ls /var/lib/libvirt/images/netlab.demo"),
        "demo.a.base\ndemo.a.qcow2\n"
    );
    libvirt.define(&name, &guest(&name, Some(boot(&volume)), &[])).unwrap();
    libvirt.start_paused(&name).unwrap();
}

#[test]
fn a_seed_disk_is_created_with_its_domain_and_qemu_may_read_it() {
    let Some(daemon) = Daemon::usual("a_seed_disk_is_created_with_its_domain_and_qemu_may_read_it") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (name, volume) = (daemon.name("a"), base(&daemon, "raw"));
    let mut wanted = guest(&name, Some(boot(&volume)), &[]);
    wanted.seed = Some(GuestConfig {
        hostname: name.vm().clone(),
        console: console(),
        nics: Vec::new(),
        default_route: None,
        nameservers: Vec::new(),
        seeded: true,
        serve: Vec::new(),
        cloud_init: netlab::state::CloudConfig::default(),
        proxies: netlab::lab::Proxies::default(),
    });
    let error = libvirt.define(&name, &wanted).unwrap_err().to_string();
    assert!(error.contains("no storage pool"), "{error}");
    libvirt.create_volume(&name, &volume).unwrap();
    let seen = || libvirt.observe(&daemon.lab).unwrap().domains[&name].clone();
    for bus in ["virtio", "ide", "sata", "scsi"] {
        bus.clone_into(&mut wanted.disk_bus);
        libvirt.define(&name, &wanted).unwrap();
        assert_eq!(seen(), wanted);
        let label = daemon.sh("blkid -s LABEL -o value /var/lib/libvirt/images/netlab.demo/demo.a.seed.iso");
        assert_eq!(label.trim(), "cidata");
        libvirt.start_paused(&name).unwrap();
        libvirt.stop(&name, &wanted.uuid).unwrap();
    }
    daemon.sh("rm /var/lib/libvirt/images/netlab.demo/demo.a.seed.iso");
    assert_eq!(seen().seed, None);
    libvirt.define(&name, &wanted).unwrap();
    // As after a run that was killed before it had defined the domain.
    daemon.sh("virsh undefine demo.a");
    libvirt.delete_volume(&name).unwrap();
    assert_nothing_is_left(&daemon);
    libvirt.create_volume(&name, &volume).unwrap();
    libvirt.define(&name, &wanted).unwrap();
    libvirt.undefine(&name, &wanted.uuid).unwrap();
    assert_eq!(
        daemon.sh("ls /var/lib/libvirt/images/netlab.demo | grep seed || true"),
        ""
    );
    libvirt.delete_volume(&name).unwrap();
    assert_nothing_is_left(&daemon);
}
