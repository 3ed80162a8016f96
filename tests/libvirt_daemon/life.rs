//! A domain's life as the daemon reports it: drift, crashes, failing starts, a daemon that is killed.

use netlab::state::Condition;

use super::daemon::{Daemon, guest, until};

#[test]
fn a_change_by_virsh_is_observed_whether_the_domain_runs_or_not() {
    let Some(daemon) = Daemon::new("a_change_by_virsh_is_observed_whether_the_domain_runs_or_not") else {
        return;
    };
    let libvirt = daemon.libvirt();
    daemon.sh("ip link add name br1 type bridge; ip link set br1 up; ip link add name br2 type bridge");
    let name = daemon.name("a");
    let wanted = guest(&name, None, &["br1"]);
    let seen = || libvirt.observe(&daemon.lab).unwrap().domains[&name].clone();
    libvirt.define(&name, &wanted).unwrap();
    // libvirt has expanded the definition: a versioned machine type, addresses, controllers.
    assert_eq!(seen(), wanted);
    let edits = [
        "s/<vcpu.*vcpu>/<vcpu>2<\\/vcpu>/",
        "s/pc-i440fx-[0-9.]*/pc-q35-7.2/; s/<controller type='pci'.*model='pci-root'\\/>//",
        "s/quiet/quiet debug/",
        "s/<kernel>.*kernel>/<kernel>\\/boot\\/other<\\/kernel>/",
        "s/bridge='br1'/bridge='br2'/",
        "s/model type='virtio'/model type='e1000'/",
        "s/x86_64'/i686'/; s/qemu-system-x86_64/qemu-system-i386/",
        "s/<memory.*memory>/<memory unit='MiB'>128<\\/memory>/",
    ];
    for running in [false, true] {
        if running {
            libvirt.start_paused(&name).unwrap();
            libvirt.resume(&name).unwrap();
            assert!(seen().running);
        }
        for edit in edits {
            // What `virsh edit` does, without an editor.
            daemon.sh(&format!(
                "virsh dumpxml --inactive demo.a | sed \"{edit}\" | grep -v '<address' > /run/edited && \
                 virsh define /run/edited"
            ));
            let mut now = seen();
            now.running = false;
            assert_ne!(now, wanted, "{edit}, running: {running}");
            libvirt.define(&name, &wanted).unwrap();
            now = seen();
            now.running = false;
            assert_eq!(now, wanted, "not restored after {edit}");
        }
    }
    // A change of the live state only.
    daemon.sh(
        "virsh dumpxml demo.a | sed -n '/<interface/,/<.interface/p' | sed 's/br1/br2/' > /run/nic && \
         virsh update-device demo.a /run/nic --live",
    );
    assert_eq!(seen().nics[0].bridge.as_str(), "br2");
}

#[test]
fn a_guest_that_an_interrupted_start_left_paused_without_its_nics_is_started_with_them() {
    let test = "a_guest_that_an_interrupted_start_left_paused_without_its_nics_is_started_with_them";
    let Some(daemon) = Daemon::new(test) else { return };
    let (libvirt, name) = (daemon.libvirt(), daemon.name("a"));
    daemon.sh("ip link add name br1 type bridge; ip link set br1 up");
    let nics = || {
        daemon
            .sh("virsh -q domiflist demo.a")
            .lines()
            .filter(|line| line.contains("br1"))
            .count()
    };
    libvirt.define(&name, &guest(&name, None, &["br1"])).unwrap();
    libvirt.start_paused_without_nics(&name).unwrap();
    assert_eq!(nics(), 0);
    libvirt.start_paused(&name).unwrap();
    assert_eq!(nics(), 1);
    libvirt.resume(&name).unwrap();
    let pid = || daemon.sh("cat /run/libvirt/qemu/demo.a.pid");
    let running = pid();
    libvirt.start_paused(&name).unwrap();
    assert_eq!(pid(), running, "one that runs is left unchanged");
}

#[test]
fn a_guest_whose_qemu_was_killed_is_distinguished_from_one_that_was_shut_off() {
    let Some(daemon) = Daemon::new("a_guest_whose_qemu_was_killed_is_distinguished_from_one_that_was_shut_off") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (killed, stopped) = (daemon.name("a"), daemon.name("b"));
    for name in [&killed, &stopped] {
        libvirt.define(name, &guest(name, None, &[])).unwrap();
        assert_eq!(
            libvirt.observe(&daemon.lab).unwrap().seen[name].condition,
            Condition::ShutOff
        );
        libvirt.start_paused(name).unwrap();
        assert_eq!(
            libvirt.observe(&daemon.lab).unwrap().seen[name].condition,
            Condition::Paused
        );
        libvirt.resume(name).unwrap();
    }
    let running = libvirt.observe(&daemon.lab).unwrap().seen[&killed].clone();
    assert_eq!(running.condition, Condition::Running);
    let screen = running.screen.unwrap();
    assert!(screen.starts_with("127.0.0.1:59"), "{screen}");
    daemon.sh("kill -9 $(cat /run/libvirt/qemu/demo.a.pid)");
    libvirt.stop(&stopped, &guest(&stopped, None, &[]).uuid).unwrap();
    let condition = |name| libvirt.observe(&daemon.lab).unwrap().seen[name].condition;
    until("the crash to be observed", || {
        (condition(&killed) == Condition::Crashed).then_some(())
    });
    assert_eq!(condition(&stopped), Condition::ShutOff);
    // Only a running domain has a screen.
    assert_eq!(libvirt.observe(&daemon.lab).unwrap().seen[&killed].screen, None);
    libvirt.start_paused(&killed).unwrap();
    libvirt.resume(&killed).unwrap();
    assert_eq!(condition(&killed), Condition::Running);
}

#[test]
fn a_start_that_fails_names_its_cause_and_the_domain_can_be_undefined() {
    let Some(daemon) = Daemon::new("a_start_that_fails_names_its_cause_and_the_domain_can_be_undefined") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let name = daemon.name("a");
    let good = guest(&name, None, &["br1"]);
    let mut no_kernel = guest(&name, None, &[]);
    if let netlab::lab::Boot::Kernel { kernel, .. } = &mut no_kernel.boot {
        *kernel = "/nowhere/vmlinuz".into();
    }
    let mut too_big = guest(&name, None, &[]);
    too_big.memory_mib = 1 << 30;
    for (domain, wanted) in [
        (&good, "the bridge of one of its NICs does not exist"),
        (&no_kernel, "a file that it needs"),
        (&too_big, "too little free memory"),
    ] {
        libvirt.define(&name, domain).unwrap();
        let error = libvirt.start_paused(&name).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(
            error.contains("start domain demo.a") && error.contains("(libvirt: "),
            "libvirt's message too: {error}"
        );
        libvirt.undefine(&name, &domain.uuid).unwrap();
        assert_eq!(daemon.sh("virsh list --all --name").trim(), "");
        assert_eq!(daemon.sh("find /var/log/libvirt -name '*demo*'"), "");
    }
    let mut old = guest(&name, None, &[]);
    old.machine = "pc-1.2".to_owned();
    let error = libvirt.define(&name, &old).unwrap_err().to_string();
    assert!(error.contains("QEMU does not have this machine type"), "{error}");
}

#[test]
fn a_domain_that_replaced_the_observed_one_is_left_unchanged() {
    let Some(daemon) = Daemon::new("a_domain_that_replaced_the_observed_one_is_left_unchanged") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let name = daemon.name("a");
    let wanted = guest(&name, None, &[]);
    libvirt.define(&name, &wanted).unwrap();
    libvirt.start_paused(&name).unwrap();
    // Even a copy with netlab's mark is another domain.
    daemon.sh(
        "virsh destroy demo.a && virsh dumpxml --inactive demo.a | sed '/<uuid>/d' > /run/copy && \
         virsh undefine demo.a && virsh create --paused /run/copy",
    );
    for result in [libvirt.stop(&name, &wanted.uuid), libvirt.undefine(&name, &wanted.uuid)] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("was replaced since it was observed"), "{error}");
    }
    assert_eq!(daemon.sh("virsh domstate demo.a").trim(), "paused");
}

#[test]
fn after_a_daemon_was_killed_its_guests_are_observed_again() {
    let Some(daemon) = Daemon::new("after_a_daemon_was_killed_its_guests_are_observed_again") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (one, two) = (daemon.name("a"), daemon.name("b"));
    let wanted = guest(&one, None, &[]);
    libvirt.define(&one, &wanted).unwrap();
    libvirt.start_paused(&one).unwrap();
    libvirt.resume(&one).unwrap();
    let qemu = daemon.sh("cat /run/libvirt/qemu/demo.a.pid");
    let age = libvirt.age().unwrap();
    for _ in 0..3 {
        daemon.kill_libvirtd();
        // At once, while the daemon does not listen yet.
        let seen = libvirt.observe(&daemon.lab).unwrap();
        assert!(seen.domains[&one].running);
        libvirt.define(&two, &guest(&two, None, &[])).unwrap();
        libvirt.undefine(&two, &guest(&two, None, &[]).uuid).unwrap();
    }
    assert_ne!(libvirt.age().unwrap(), age);
    assert_eq!(daemon.sh("cat /run/libvirt/qemu/demo.a.pid"), qemu);
    libvirt.stop(&one, &wanted.uuid).unwrap();
}

#[test]
fn a_daemon_that_does_not_return_is_an_error_in_bounded_time() {
    let Some(daemon) = Daemon::new("a_daemon_that_does_not_return_is_an_error_in_bounded_time") else {
        return;
    };
    let libvirt = daemon.libvirt();
    std::fs::write(daemon.folder.path().join("no-libvirtd"), "").unwrap();
    daemon.kill_libvirtd();
    let error = libvirt.observe(&daemon.lab).unwrap_err().to_string();
    assert!(error.contains("did not return"), "{error}");
    std::fs::remove_file(daemon.folder.path().join("no-libvirtd")).unwrap();
    libvirt.observe(&daemon.lab).unwrap();
}

#[test]
fn console_logs_are_readable_by_root_only_and_screens_listen_on_this_machine_only() {
    let Some(daemon) = Daemon::new("console_logs_are_readable_by_root_only_and_screens_listen_on_this_machine_only")
    else {
        return;
    };
    let libvirt = daemon.libvirt();
    let (one, two) = (daemon.name("a"), daemon.name("b"));
    for name in [&one, &two] {
        libvirt.define(name, &guest(name, None, &[])).unwrap();
        libvirt.start_paused(name).unwrap();
        libvirt.resume(name).unwrap();
    }
    let log = libvirt.observe(&daemon.lab).unwrap().seen[&one]
        .console_log
        .clone()
        .unwrap();
    let log = log.display();
    until("the guest to print", || {
        (daemon.sh(&format!("stat -c %s {log}")) != "0\n").then_some(())
    });
    assert_eq!(
        daemon.sh(&format!("stat -c '%a %U' {log} $(dirname {log})")),
        "600 root\n700 root\n"
    );
    let listeners = daemon.sh("ss -Hltn | awk '{print $4}'");
    assert_eq!(listeners.lines().count(), 2, "{listeners}");
    assert!(
        listeners.lines().all(|address| address.starts_with("127.0.0.1:")),
        "{listeners}"
    );
    let metadata = daemon.sh("virsh metadata demo.a urn:netlab:1");
    for wanted in ["<lab>demo<", "<vm>a<", concat!("<version>", env!("CARGO_PKG_VERSION"))] {
        assert!(metadata.contains(wanted), "{wanted} in {metadata}");
    }
    assert!(
        daemon
            .sh("virsh dumpxml demo.a")
            .contains("<memballoon model='virtio'>")
    );

    libvirt.stop(&one, &guest(&one, None, &[]).uuid).unwrap();
    libvirt.undefine(&one, &guest(&one, None, &[]).uuid).unwrap();
    let left = daemon.sh("find /var/log/libvirt -name '*demo*' -o -name '*.console.log' | sort");
    assert_eq!(
        left,
        "/var/log/libvirt/netlab.demo\n/var/log/libvirt/netlab.demo/b.console.log\n/var/log/libvirt/qemu/demo.b.log\n"
    );
    libvirt.undefine(&two, &guest(&two, None, &[]).uuid).unwrap();
    assert_eq!(daemon.sh("find /var/log/libvirt -name '*demo*'"), "");
}
