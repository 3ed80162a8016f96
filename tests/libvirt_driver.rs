//! The libvirt driver against libvirt's own test driver: no daemon, no root.
#![expect(clippy::unwrap_used, reason = "a test")]

use netlab::host::domain_xml::{XmlError, read, render};
use netlab::host::libvirt::Libvirt;
use netlab::lab::{Boot, ConsoleKind, Dialect, ImageConsole, LabName};
use netlab::state::{Accel, Domain, DomainName, DomainNic, GuestConfig};
use virt::connect::Connect;

const LOG: &str = "/var/log/libvirt/qemu/x.console.log";

fn lab() -> LabName {
    "demo".parse().unwrap()
}

fn name(vm: &str) -> DomainName {
    DomainName::new(&lab(), &vm.parse().unwrap())
}

fn kernel(cmdline: &str) -> Boot {
    Boot::Kernel {
        kernel: "/img/a & b/vmlinuz".into(),
        initrd: "/img/initrd".into(),
        cmdline: cmdline.to_owned(),
    }
}

fn domain(boot: Boot, nics: u8) -> Domain {
    let nic = |n: u8| DomainNic {
        bridge: format!("br{n}").parse().unwrap(),
        tap: format!("nl-tap{n}").parse().unwrap(),
        mac: format!("52:54:00:00:00:0{n}").parse().unwrap(),
        model: if n == 1 { "e1000" } else { "virtio" }.to_owned(),
    };
    Domain {
        uuid: "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1c01".to_owned(),
        accel: Accel::Qemu,
        arch: "i686".to_owned(),
        machine: "pc".to_owned(),
        disk_bus: if matches!(boot, Boot::Disk { .. }) {
            "virtio"
        } else {
            ""
        }
        .to_owned(),
        memory_mib: 96,
        cpus: 2,
        boot,
        nics: (0..nics).map(nic).collect(),
        running: true,
        configured: None,
    }
}

fn through_libvirt(xml: &str) -> String {
    let conn = Connect::open(Some("test:///default")).unwrap();
    let made = conn.define_domain_xml(xml).unwrap();
    let back = made.xml_desc(0).unwrap();
    made.undefine().unwrap();
    back
}

#[test]
fn a_domain_comes_back_as_it_was() {
    Libvirt::open("test:///default").unwrap();
    let odd = "console=ttyS0 a=\"<&>'\" ]]> ü $(x) `y` %s ;|\\";
    let disk = Boot::Disk {
        base: "/img/base.qcow2".into(),
        format: "qcow2".to_owned(),
    };
    for (at, boot) in [kernel("console=ttyS0"), kernel(odd), disk].into_iter().enumerate() {
        for nics in 0..=3 {
            let name = name(&format!("vm{at}-{nics}"));
            let wanted = domain(boot.clone(), nics);
            let path = matches!(boot, Boot::Disk { .. }).then_some("/pool/x.qcow2");
            let xml = render(&lab(), &name, &wanted, path, LOG).unwrap();
            assert_eq!(read(&xml).unwrap(), Some((name.clone(), wanted.clone())), "{xml}");
            let back = through_libvirt(&xml);
            assert_eq!(read(&back).unwrap(), Some((name, wanted)), "{back}");
        }
    }
}

#[test]
fn drift_is_seen() {
    let xml = render(&lab(), &name("a"), &domain(kernel("x"), 2), None, LOG).unwrap();
    let xml = xml
        .replace(">96<", ">128<")
        .replace("<source bridge=\"br1\"/>", "<source bridge=\"virbr0\"/>");
    let (_, seen) = read(&xml).unwrap().unwrap();
    assert_eq!(seen.memory_mib, 128);
    assert_eq!(seen.nics[1].bridge.as_str(), "virbr0");
}

#[test]
fn foreign_domains_and_copies_are_not_ours() {
    let plain = "<domain type='test'><name>demo.a</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    assert_eq!(read(plain).unwrap(), None);
    let xml = render(&lab(), &name("a"), &domain(kernel("x"), 0), None, LOG).unwrap();
    assert_eq!(read(&xml.replace("<name>demo.a<", "<name>demo.b<")).unwrap(), None);
}

#[test]
fn what_xml_cannot_carry_is_refused() {
    let result = render(&lab(), &name("a"), &domain(kernel("a\u{1}b"), 0), None, LOG);
    assert!(matches!(result, Err(XmlError::Illegal(_))), "{result:?}");
}

#[test]
fn a_foreign_domain_is_not_defined_over() {
    let libvirt = Libvirt::open("test:///default").unwrap();
    let conn = Connect::open(Some("test:///default")).unwrap();
    let foreign = "<domain type='test'><name>demo.taken</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    let made = conn.define_domain_xml(foreign).unwrap();
    let result = libvirt.define(&lab(), &name("taken"), &domain(kernel("x"), 0));
    assert!(result.unwrap_err().to_string().contains("netlab did not make"));
    assert!(libvirt.undefine(&name("taken"), &made.uuid_string().unwrap()).is_err());
    made.undefine().unwrap();
}

#[test]
fn a_domain_is_defined_started_seen_stopped_and_removed() {
    let libvirt = Libvirt::open("test:///default").unwrap();
    let (life, mut wanted) = (name("life"), domain(kernel("x"), 1));
    wanted.uuid = "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1c02".to_owned();
    libvirt.define(&lab(), &life, &wanted).unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().0[&life].running);
    // The test driver cannot start a domain paused; its connections share their domains.
    let conn = Connect::open(Some("test:///default")).unwrap();
    let handle = conn.lookup_domain_by_name("demo.life").unwrap();
    handle.create().unwrap();
    handle.suspend().unwrap();
    libvirt.start_paused(&life).unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().0[&life].running);
    libvirt.resume(&life).unwrap();
    let told = GuestConfig {
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
    };
    libvirt.set_configured(&life, &told).unwrap();
    assert_eq!(libvirt.observe(&lab()).unwrap().0[&life].configured, Some(told));
    handle.destroy().unwrap();
    assert_eq!(libvirt.observe(&lab()).unwrap().0[&life].configured, None);
    handle.create().unwrap();
    assert_eq!(libvirt.observe(&lab()).unwrap().0[&life], wanted);
    assert!(libvirt.stop(&life, "6f1d0f3e-8f8c-5a57-9a35-0d4b0a5f1cff").is_err());
    libvirt.stop(&life, &wanted.uuid).unwrap();
    libvirt.stop(&life, &wanted.uuid).unwrap();
    libvirt.undefine(&life, &wanted.uuid).unwrap();
    libvirt.undefine(&life, &wanted.uuid).unwrap();
    assert!(!libvirt.observe(&lab()).unwrap().0.contains_key(&life));
}
