//! The libvirt driver against libvirt's own test driver: no daemon, no root.
#![expect(clippy::unwrap_used, reason = "a test")]

mod fleet;

use std::sync::{Arc, Mutex};

use netlab::lab::{BaseDisk, Boot, ConsoleKind, Dialect, Firmware, ImageConsole, LabName, Video};
use netlab::libvirt::Libvirt;
use netlab::libvirt::domain_xml::{Definitions, Files, Template, XmlError, read, render};
use netlab::state::{
    Accel, Condition, Domain, DomainDisk, DomainName, DomainNic, GuestConfig, GuestNicConfig, Start, Volume,
};
use netlab::transport::{Cmd, CmdError, Output, Shell};
use virt::connect::Connect;

const FILES: Files = Files {
    disk: "/pool/netlab.demo/demo.a.qcow2",
    further: "/pool/netlab.demo",
    seed: "/pool/netlab.demo/demo.a.seed.iso",
    console_log: "/var/log/libvirt/netlab.demo/a.console.log",
};

/// The test driver has no host: no folder of logs is created, no record beside a disk.
struct NoFiles;

impl Shell for NoFiles {
    fn run(&self, _: &Cmd) -> Result<Output, CmdError> {
        Ok(Output {
            status: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })
    }
}

fn driver() -> Libvirt {
    Libvirt::open(
        "test".parse().unwrap(),
        "test:///default",
        Arc::new(NoFiles),
        Template::built_in(),
    )
    .unwrap()
}

/// A host without any copy, whose file system has 5 MiB free.
struct Little;

impl Shell for Little {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let is_test = cmd.to_string().starts_with("test ");
        Ok(Output {
            status: i32::from(is_test),
            stdout: if is_test { Vec::new() } else { b"5120\n".to_vec() },
            stderr: Vec::new(),
        })
    }
}

#[test]
fn copies_that_do_not_fit_on_a_host_are_an_error_with_the_numbers_and_the_folder() {
    let libvirt = Libvirt::open(
        "test".parse().unwrap(),
        "test:///default",
        Arc::new(Little),
        Template::built_in(),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, mib: usize| {
        let path = folder.path().join(name);
        std::fs::write(&path, vec![u8::try_from(mib).unwrap(); mib << 20]).unwrap();
        path
    };
    let (one, four, three) = (file("one", 1), file("four", 4), file("three", 3));
    let check = |files: &[&std::path::PathBuf]| {
        let files: Vec<_> = files.iter().map(|file| (file.as_path(), "disk".to_owned())).collect();
        libvirt.check_space(&files).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[&one, &four]), Ok(()));
    assert_eq!(
        check(&[&one, &four, &three]),
        Err(
            "3 files to be copied to the host need 8 MiB, 5 MiB are free in /var/lib/libvirt/images/netlab-images"
                .to_owned()
        )
    );
}

fn xml(name: &DomainName, domain: &Domain) -> String {
    let disk = format!("/pool/netlab.demo/{name}.qcow2");
    let files = Files { disk: &disk, ..FILES };
    render(&Template::built_in().unwrap(), name, domain, files).unwrap()
}

/// Reads the definition of a domain that does not run.
fn defined(xml: &str) -> Option<(DomainName, Domain)> {
    read(Definitions {
        inactive: xml,
        live: None,
    })
    .unwrap()
}

fn lab() -> LabName {
    "demo".parse().unwrap()
}

fn name(vm: &str) -> DomainName {
    DomainName::new(&lab(), &vm.parse().unwrap())
}

fn kernel(cmdline: &str) -> Boot {
    Boot::Kernel {
        kernel: "/img/a & b/vmlinuz".into(),
        initrd: Some("/img/initrd".into()),
        cmdline: cmdline.to_owned(),
        disk: None,
    }
}

fn domain(boot: Boot, nics: u8) -> Domain {
    let nic = |n: u8| DomainNic {
        bridge: format!("br{n}").parse().unwrap(),
        tap: format!("nl-tap{n}").parse().unwrap(),
        mac: format!("52:54:00:00:00:0{n}").parse().unwrap(),
        model: if n == 1 { "e1000" } else { "virtio" }.to_owned(),
        mtu: None,
        ovs: None,
    };
    Domain {
        uuid: "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1c01".to_owned(),
        accel: Accel::Qemu,
        arch: "i686".to_owned(),
        machine: "pc".to_owned(),
        disk_bus: if boot.disk().is_some() { "virtio" } else { "" }.to_owned(),
        memory_mib: 96,
        disk_mib: boot.disk().map(|_| 20 << 10),
        disks: Vec::new(),
        cdrom: None,
        cpus: 2,
        boot,
        seed: None,
        firmware: Firmware::default(),
        video: Video::default(),
        nics: (0..nics).map(nic).collect(),
        running: false,
        start: Start::Boot,
        configured: None,
        tasks: Vec::new(),
    }
}

fn through_libvirt(xml: &str) -> String {
    // The process has one test driver, and these domains have one UUID.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let conn = Connect::open(Some("test:///default")).unwrap();
    let made = conn.define_domain_xml(xml).unwrap();
    let back = made.xml_desc(0).unwrap();
    made.undefine().unwrap();
    back
}

#[test]
fn a_defined_domain_is_read_back_unchanged() {
    driver();
    let odd = "console=ttyS0 a=\"<&>'\" ]]> ü $(x) `y` %s ;|\\";
    let disk = Boot::Disk {
        base: "/img/a & b/base.img".into(),
        format: "raw".to_owned(),
    };
    let with_disk = Boot::Kernel {
        kernel: "/img/vmlinuz".into(),
        initrd: None,
        cmdline: "root=/dev/vda".to_owned(),
        disk: Some(BaseDisk {
            base: "/img/root.qcow2".into(),
            format: "qcow2".to_owned(),
        }),
    };
    let boots = [kernel("console=ttyS0"), kernel(odd), disk, with_disk];
    for (at, boot) in boots.into_iter().enumerate() {
        for nics in 0..=3 {
            let name = name(&format!("vm{at}-{nics}"));
            let wanted = domain(boot.clone(), nics);
            let xml = xml(&name, &wanted);
            assert_eq!(defined(&xml), Some((name.clone(), wanted.clone())), "{xml}");
            let back = through_libvirt(&xml);
            assert_eq!(defined(&back), Some((name, wanted)), "{back}");
        }
    }
}

#[test]
fn further_disks_and_a_cd_are_read_back_and_each_has_a_place_of_its_own() {
    driver();
    let over = |base: &str, format: &str| {
        Some(Volume {
            base: base.into(),
            base_format: format.to_owned(),
        })
    };
    let further = [
        None,
        over("/img/data.qcow2", "qcow2"),
        over("/img/b & c.img", "raw"),
        None,
    ];
    let disk = Boot::Disk {
        base: "/img/base.img".into(),
        format: "raw".to_owned(),
    };
    for (boot, bus, machine, wanted) in [
        (disk.clone(), "virtio", "pc", "vda vdb vdc vdd vde hdc"),
        (disk.clone(), "virtio", "q35", "vda vdb vdc vdd vde sda"),
        (disk.clone(), "sata", "q35", "sda sdb sdc sdd sde sdf"),
        (disk.clone(), "scsi", "pc", "sda sdb sdc sdd sde sdf"),
        (kernel("x"), "virtio", "pc", "vda vdb vdc vdd hdc"),
    ] {
        for count in 0..=further.len() {
            let disks = (1..).zip(&further[..count]).map(|(number, over)| DomainDisk {
                number,
                over: over.clone(),
            });
            let domain = Domain {
                arch: "x86_64".to_owned(),
                machine: machine.to_owned(),
                disk_bus: if count == 0 && boot.disk().is_none() { "" } else { bus }.to_owned(),
                disks: disks.collect(),
                cdrom: (count % 2 == 0).then(|| "/img/tools & more.iso".into()),
                ..domain(boot.clone(), 1)
            };
            let name = name("a");
            let xml = xml(&name, &domain);
            assert_eq!(defined(&xml), Some((name.clone(), domain.clone())), "{xml}");
            let back = through_libvirt(&xml);
            assert_eq!(defined(&back), Some((name, domain)), "{back}");
            if count == further.len() {
                let places = xml.split("<target dev=\"").skip(1);
                let places: Vec<_> = places.filter_map(|rest| rest.split('"').next()).collect();
                let places: Vec<_> = places.into_iter().filter(|place| place.len() == 3).collect();
                assert_eq!(places.join(" "), wanted, "{xml}");
            }
        }
    }
}

#[test]
fn firmware_and_video_are_read_back_also_where_the_template_has_its_own() {
    driver();
    let firmwares = [Firmware::Bios, Firmware::Efi, Firmware::SecureEfi];
    let videos = [Video::Vga, Video::Cirrus, Video::Virtio, Video::None];
    let of_template = include_str!("../../templates/domain.xml")
        .replace("<os/>", "<os firmware=\"efi\"/>")
        .replace("<video/>", "<video><model type=\"qxl\"/></video>");
    let of_template = Template::parse(&of_template, "my.xml").unwrap();
    for (firmware, video) in firmwares
        .into_iter()
        .flat_map(|firmware| videos.map(|video| (firmware, video)))
    {
        let wanted = Domain {
            firmware,
            video,
            arch: "x86_64".to_owned(),
            machine: "q35".to_owned(),
            ..domain(kernel("x"), 1)
        };
        for template in [&Template::built_in().unwrap(), &of_template] {
            let xml = render(template, &name("a"), &wanted, FILES).unwrap();
            assert_eq!(defined(&xml).unwrap().1, wanted, "{xml}");
            let back = through_libvirt(&xml);
            assert_eq!(defined(&back).unwrap().1, wanted, "{back}");
        }
    }
}

#[test]
fn every_part_of_a_definition_is_read_from_the_xml_itself() {
    let disk = Boot::Disk {
        base: "/img/base.img".into(),
        format: "raw".to_owned(),
    };
    let (by_kernel, by_disk) = (domain(kernel("quiet"), 2), domain(disk, 0));
    for (domain, from, to) in [
        (&by_kernel, ">96<", ">128<"),
        (&by_kernel, "<vcpu>2<", "<vcpu>3<"),
        (&by_kernel, "type=\"qemu\"", "type=\"kvm\""),
        (&by_kernel, "arch=\"i686\"", "arch=\"x86_64\""),
        (&by_kernel, "machine=\"pc\"", "machine=\"pc-q35-7.2\""),
        (&by_kernel, "/vmlinuz<", "/vmlinuz.old<"),
        (&by_kernel, "/img/initrd<", "/img/other<"),
        (&by_kernel, ">quiet<", ">loud<"),
        (&by_kernel, "bridge=\"br1\"", "bridge=\"virbr0\""),
        (&by_kernel, "dev=\"nl-tap0\"", "dev=\"nl-tap9\""),
        (&by_kernel, "52:54:00:00:00:01", "52:54:00:00:00:99"),
        (&by_kernel, "type=\"e1000\"", "type=\"rtl8139\""),
        (&by_kernel, "type=\"vga\"", "type=\"cirrus\""),
        (&by_kernel, "<os>", "<os firmware=\"efi\">"),
        (&by_disk, "bus=\"virtio\"", "bus=\"scsi\""),
        (&by_disk, "/img/base.img", "/img/other.img"),
        (&by_disk, "<format type=\"raw\"/>", "<format type=\"qcow2\"/>"),
        (
            &by_disk,
            "<driver name=\"qemu\" type=\"qcow2\"/>",
            "<driver name=\"qemu\" type=\"raw\"/>",
        ),
        (&by_disk, "/pool/netlab.demo/demo.a.qcow2", "/pool/other.qcow2"),
    ] {
        let xml = xml(&name("a"), domain);
        assert!(xml.contains(from), "{from} in {xml}");
        let (_, seen) = defined(&xml.replace(from, to)).unwrap();
        assert_ne!(seen, *domain, "{from} became {to}");
    }
}

#[test]
fn a_change_of_the_live_domain_is_read_as_well_as_one_of_its_definition() {
    let wanted = domain(kernel("x"), 2);
    let written = xml(&name("a"), &wanted);
    let changed = written.replace("br1", "virbr0");
    let seen = |inactive: &str, live: &str| {
        let live = Some(live);
        read(Definitions { inactive, live }).unwrap().unwrap().1
    };
    assert_eq!(seen(&written, &written), wanted);
    assert_eq!(seen(&changed, &written).nics[1].bridge.as_str(), "virbr0");
    assert_eq!(seen(&written, &changed).nics[1].bridge.as_str(), "virbr0");
}

#[test]
fn an_expanded_machine_type_is_read_as_the_lab_names_it() {
    let wanted = domain(kernel("x"), 0);
    let expanded = xml(&name("a"), &wanted).replace("machine=\"pc\"", "machine=\"pc-i440fx-7.2\"");
    assert_eq!(defined(&expanded).unwrap().1, wanted);
}

#[test]
fn the_xml_gives_every_format_down_to_the_base() {
    let disk = Boot::Disk {
        base: "/img/base.img".into(),
        format: "raw".to_owned(),
    };
    let xml = xml(&name("a"), &domain(disk, 0));
    let chain = "<backingStore type=\"file\"><format type=\"raw\"/><source file=\"/img/base.img\"/><backingStore/>\
                 </backingStore>";
    assert!(
        xml.contains("<driver name=\"qemu\" type=\"qcow2\"/>") && xml.contains(chain),
        "{xml}"
    );
}

#[test]
fn a_users_template_keeps_its_additions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("domain.xml");
    let own = include_str!("../../templates/domain.xml")
        .replace(
            "<domain>",
            "<domain xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\">",
        )
        .replace("<vcpu/>", "<vcpu placement=\"static\" cpuset=\"0\"/>")
        .replace(
            "<disk/>",
            "<disk type=\"file\" device=\"cdrom\"><target dev=\"sdb\" bus=\"sata\"/></disk><disk/>",
        )
        .replace(
            "</devices>",
            "<rng model=\"virtio\"><backend model=\"random\">/dev/urandom</backend></rng></devices>",
        );
    std::fs::write(&file, own).unwrap();
    let wanted = domain(kernel("x"), 1);
    let xml = render(&Template::load(&file).unwrap(), &name("a"), &wanted, FILES).unwrap();
    let back = through_libvirt(&xml);
    for addition in ["/dev/urandom", "device='cdrom'", "cpuset='0'"] {
        assert!(back.contains(addition), "{addition} in {back}");
    }
    assert_eq!(defined(&back).unwrap().1, wanted);

    std::fs::write(&file, "<domain>\n  <name/>\n  <uuid>\n</domain>").unwrap();
    let error = Template::load(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:3:3: ", file.display())), "{error}");
    std::fs::remove_file(&file).unwrap();
    Template::load(&file).unwrap();
}

#[test]
fn foreign_domains_and_copies_are_not_netlabs() {
    let plain = "<domain type='test'><name>demo.a</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    assert_eq!(defined(plain), None);
    let xml = xml(&name("a"), &domain(kernel("x"), 0));
    assert_eq!(defined(&xml.replace("<name>demo.a<", "<name>demo.b<")), None);
}

/// FAULTS 47.
#[test]
fn a_text_that_xml_cannot_represent_is_an_error() {
    let template = Template::built_in().unwrap();
    for bad in ["a\u{1}b", "a\nb", "a\u{fffe}b"] {
        let result = render(&template, &name("a"), &domain(kernel(bad), 0), FILES);
        assert!(matches!(result, Err(XmlError::Illegal(_))), "{result:?}");
    }
}

#[test]
fn a_foreign_domain_is_not_redefined() {
    let libvirt = driver();
    let conn = Connect::open(Some("test:///default")).unwrap();
    let foreign = "<domain type='test'><name>demo.taken</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    let made = conn.define_domain_xml(foreign).unwrap();
    let result = libvirt.define(&name("taken"), &domain(kernel("x"), 0));
    assert!(result.unwrap_err().to_string().contains("not created by netlab"));
    assert!(libvirt.undefine(&name("taken"), &made.uuid_string().unwrap()).is_err());
    made.undefine().unwrap();
}

#[test]
fn a_foreign_pool_is_not_adopted_and_not_deleted() {
    let libvirt = driver();
    let conn = Connect::open(Some("test:///default")).unwrap();
    let foreign = "<pool type='dir'><name>netlab.demo</name><target><path>/elsewhere</path></target></pool>";
    let made = conn.define_storage_pool_xml(foreign, 0).unwrap();
    let volume = Volume {
        base: "/img/base.img".into(),
        base_format: "raw".to_owned(),
    };
    let error = libvirt.create_volume(&name("a"), &volume).unwrap_err().to_string();
    let uuid = made.uuid_string().unwrap();
    assert!(
        error.contains("netlab.demo exists and was not created by netlab") && error.contains(&uuid),
        "{error}"
    );
    assert!(libvirt.observe(&lab()).unwrap().volumes.is_empty());
    libvirt.delete_volume(&name("a")).unwrap();
    let left = conn.lookup_storage_pool_by_name("netlab.demo").unwrap();
    assert_eq!(left.uuid_string().unwrap(), uuid);
    assert!(!left.is_active().unwrap(), "it was not even started");
    made.undefine().unwrap();
}

#[test]
fn a_domain_is_defined_started_observed_stopped_and_removed() {
    let libvirt = driver();
    let (life, mut wanted) = (name("life"), domain(kernel("x"), 1));
    wanted.uuid = "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1c02".to_owned();
    libvirt.define(&life, &wanted).unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().domains[&life].running);
    // The test driver cannot start a domain paused; its connections share their domains.
    let conn = Connect::open(Some("test:///default")).unwrap();
    let handle = conn.lookup_domain_by_name("demo.life").unwrap();
    handle.create().unwrap();
    handle.suspend().unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().domains[&life].running);
    assert_eq!(
        libvirt.observe(&lab()).unwrap().seen[&life].condition,
        Condition::Paused
    );
    libvirt.resume(&life).unwrap();
    let config = GuestConfig {
        hostname: "life".parse().unwrap(),
        console: ImageConsole {
            kind: ConsoleKind::Serial,
            prompt: "~ # ".to_owned(),
            login: None,
            dialect: Dialect::Ip,
            boot_seconds: 60,
        },
        nics: vec![GuestNicConfig {
            mac: wanted.nics[0].mac,
            address: "10.0.0.2/24".parse().unwrap(),
            dhcp: false,
            mtu: None,
        }],
        default_route: None,
        nameservers: Vec::new(),
        seeded: false,
        serve: Vec::new(),
        cloud_init: netlab::state::CloudConfig::default(),
        proxies: netlab::lab::Proxies::default(),
    };
    libvirt.set_configured(&life, &config).unwrap();
    assert_eq!(libvirt.observe(&lab()).unwrap().domains[&life].configured, Some(config));
    handle.destroy().unwrap();
    assert_eq!(libvirt.observe(&lab()).unwrap().domains[&life].configured, None);
    handle.create().unwrap();
    wanted.running = true;
    assert_eq!(libvirt.observe(&lab()).unwrap().domains[&life], wanted);
    assert!(libvirt.stop(&life, "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1cff").is_err());
    libvirt.stop(&life, &wanted.uuid).unwrap();
    libvirt.stop(&life, &wanted.uuid).unwrap();
    libvirt.undefine(&life, &wanted.uuid).unwrap();
    libvirt.undefine(&life, &wanted.uuid).unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().domains.contains_key(&life));
}
