//! The page of `verify` in a real browser: labs of 2, 14 and 40 guests, each with faults. The screenshots stay in the
//! folder of the tests' files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use netlab::graph::{Condition, Marks, svg};
use netlab::guest::{Answer, Reply};
use netlab::lab::{self, Asked};
use netlab::topology::{Topology, allocate};
use netlab::verify::{Changes, Matrix, Page, Places, Replies, Shown, expected, html};

use crate::support::{installed, kept, skip};

/// A lab on two hosts: half of the guests in each of two networks, both with a gateway, the second one on another host.
fn lab(guests: usize) -> Topology {
    let mut text = String::from(
        r#"
        name = "page"
        hosts.node1 = { nics.eth0 = {}, nics.eth1 = {} }
        hosts.node2 = { nics.eth0 = {}, nics.eth1 = {} }
        cables = [{ ends = ["node1:eth0", "node2:eth0"] }, { ends = ["node1:eth1", "node2:eth1"] }]
        [networks.service]
        subnet = "10.0.1.0/24"
        uplink = "eth0"
        gateway = { address = "10.0.1.1", on = "node1" }
        [networks.storage]
        subnet = "10.0.2.0/24"
        uplink = "eth1"
        gateway = { address = "10.0.2.1", on = "node2" }
        "#,
    );
    for (name, network) in [("web", "service"), ("disk", "storage")] {
        write!(
            text,
            "[vms.{name}]\nhosts = [\"node1\", \"node2\"]\ncount = {}\nnics = [{{ network = \"{network}\" }}]\n",
            guests / 2
        )
        .unwrap();
    }
    let lab = lab::parse("page.toml", &text, &BTreeSet::from(["mini".parse().unwrap()])).unwrap();
    allocate(&lab, &super::images())
}

/// The page of a lab in which the last guest answers nobody, one cell is lossy and one that must be isolated is answered.
fn page(topology: &Topology) -> String {
    let expectations = expected(topology);
    let (dead, last) = topology.guests.last_key_value().unwrap();
    let dead_address = IpAddr::from(last.nics[0].address.addr());
    let isolated = expectations.iter().find(|one| !one.reach).map(|one| one.address);
    let mut replies = Replies::new();
    for (at, one) in expectations.iter().enumerate() {
        let silent = !one.reach || one.address == dead_address || one.from == Asked::Vm(dead.clone());
        let received = match silent {
            _ if at == 5 && one.reach => 1,
            true if isolated == Some(one.address) && at % 7 == 3 => 2,
            true => 0,
            false => 2,
        };
        let answer = Answer::Counted {
            sent: 2,
            received,
            rtt_ms: (received > 0).then_some(0.31 + f64::from(u32::try_from(at % 40).unwrap())),
            said: None,
        };
        let given = replies.entry(one.from.clone()).or_insert_with(|| Ok(BTreeMap::new()));
        given.as_mut().unwrap().insert(one.address, Reply::from(answer));
    }
    let mut matrix = Matrix::new(expectations, &replies);
    for cell in matrix
        .cells
        .iter_mut()
        .filter(|cell| cell.expectation.address == dead_address)
    {
        cell.cause = Some(format!(
            "node2: link tap3 of guest {dead} has no carrier: its QEMU has stopped \u{1b}[31m"
        ));
    }
    let marks = Marks {
        guests: topology
            .guests
            .keys()
            .map(|vm| (vm.clone(), if vm == dead { Condition::Bad } else { Condition::Differs }))
            .collect(),
        broken: BTreeSet::from([("node2".parse().unwrap(), "eth1".parse().unwrap())]),
        ..Marks::default()
    };
    html(&Page {
        lab: "page",
        shown: Shown {
            checks: &[],
            faults: &[],
            matrix: &matrix,
            places: &Places::of(topology),
            changes: &Changes::default(),
        },
        drift: &["node2: start domain page.disk-1".to_owned()],
        notes: &["3 cells asked again, because replies were late or lost: now 1 as expected".to_owned()],
        began: "2026-01-02T03:04:05Z",
        seconds: 7.43,
        versions: &[
            ("netlab".to_owned(), "0.1.0".to_owned()),
            (
                "node1".to_owned(),
                "Linux 6.1.0; QEMU emulator version 7.2; libvirtd (libvirt) 9.0.0".to_owned(),
            ),
        ],
        picture: &svg(topology, &marks),
        transcripts: &BTreeMap::from([(
            "web-1".to_owned(),
            "mini# ping -q -c2 10.0.1.3\n2 packets \u{1b}[2J".to_owned(),
        )]),
    })
}

/// Returns width and height of a PNG (its IHDR chunk), and its size in bytes.
fn picture(file: &Path) -> (u32, u32, usize) {
    let bytes = std::fs::read(file).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", file.display());
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20), bytes.len())
}

#[test]
#[ignore = "soak: a browser takes seconds for each page"]
fn a_browser_shows_the_page_of_2_14_and_40_guests() {
    let test = "a_browser_shows_the_page_of_2_14_and_40_guests";
    if !installed("chromium") {
        skip(test, "needs chromium");
        return;
    }
    let folder = kept("pages");
    std::fs::create_dir_all(&folder).unwrap();
    for guests in [2, 14, 40] {
        let file = folder.join(format!("verify-{guests}.html"));
        std::fs::write(&file, page(&lab(guests))).unwrap();
        let shot = folder.join(format!("verify-{guests}.png"));
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--window-size=1400,2200",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--screenshot={}", shot.display()))
            .arg(format!("file://{}", file.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (width, height, size) = picture(&shot);
        assert_eq!((width, height), (1400, 2200));
        // An empty page of this size compresses to less.
        assert!(size > 40_000, "{size} bytes: {}", shot.display());
    }
}
