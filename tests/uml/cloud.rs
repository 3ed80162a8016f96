//! The lab that has it all, as far as this kernel goes: VLANs over a switch with trunk and access ports, DHCP, a gateway
//! on every host. It has no NFT_NAT, so the uplinks to the outside are left out here; the labs `nat` and `snat-floating` show them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use crate::kernel;
use crate::labs::{OBSERVE, VERIFY, WITHIN, cells};
use crate::support::guest_disk::guest_files;
use crate::support::skip;

/// The lab without what needs NAT.
fn without_outside() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/cloud.toml");
    let mut lab: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    lab.remove("nat").unwrap();
    let web = lab["vms"]["web"].as_table_mut().unwrap();
    web.remove("floating").unwrap();
    let verify = lab["verify"].as_table_mut().unwrap();
    verify.remove("outside").unwrap();
    let pings = verify["ping"].as_array_mut().unwrap();
    pings.retain(|ping| ping["from"] != Value::Array(vec!["home".into()]) || ping.get("reach").is_some());
    lab
}

/// From `up` with `options` to `down`: everybody reaches whom they must, and nothing is left behind.
fn comes_and_goes(test: &str, lab: &Table, options: &str, within: Duration) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.toml"));
    std::fs::write(&file, lab.to_string()).unwrap();
    let file = file.display();
    // Guests that a busy machine did not let boot in time go on booting, and are configured by the next `up`.
    let up = format!("netlab -q up {file} {options}");
    let again = format!("netlab up {file} {options}");
    let verify = format!("{VERIFY}\nverify {file}");
    let parts = [
        ("before", OBSERVE),
        ("up", &up),
        ("again", &again),
        ("verify", &verify),
        ("matrix", "cat /tmp/matrix; rm /tmp/matrix"),
        ("down", "netlab -q down cloud"),
        ("after", OBSERVE),
    ];
    let Some(printed) = kernel::good(test, &parts, within) else {
        return;
    };
    assert!(printed.by("again").contains("nothing to do"), "{}", printed.by("again"));
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
    let expected = [
        ("tenant-1", "tenant-2", true),
        ("tenant-2", "tenant-1", true),
        ("web", "tenant-1", true),
        ("tenant-1", "web", true),
        ("web", "tenant-2", false),
        ("tenant-2", "web", false),
        ("web", "gw service", true),
        ("tenant-1", "gw tenant", true),
        ("tenant-2", "gw tenant", true),
        ("node2", "172.16.99.108", true),
        ("desk", "172.16.99.108", true),
        ("desk", "10.0.10.1", false),
        ("home", "10.0.10.2", false),
        ("home", "10.0.20.2", false),
    ]
    .map(|(from, to, reach)| ((from.to_owned(), to.to_owned()), (reach, true)));
    assert_eq!(cells(printed.by("matrix")), BTreeMap::from(expected));
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn the_cloud_comes_up_over_trunk_and_access_ports_and_everybody_reaches_whom_they_must() {
    comes_and_goes("the_cloud_comes_up", &without_outside(), "", WITHIN);
}

/// The experiment with guests like its own: Linux for i686 on an IDE disk, typed to and read from a screen.
#[test]
#[ignore = "soak: half an hour in a user-mode Linux, where every key takes a quarter of a second"]
fn the_cloud_comes_up_with_guests_that_have_only_a_screen() {
    let test = "the_cloud_comes_up_with_screens";
    let disk = match guest_files() {
        Ok(files) => files.join("shell.img"),
        Err(why) => {
            skip(test, &why);
            return;
        }
    };
    let image = format!(
        "mirrors = [\"{}\"]\nformat = \"raw\"\ndialect = \"ifconfig\"\n\
         machine = {{ arch = \"i686\", disk_bus = \"ide\", nic_model = \"rtl8139\" }}\n\
         console = {{ kind = \"vga\", prompt = \"vga# \", boot_seconds = 900 }}\n",
        disk.display()
    );
    let mut lab = without_outside();
    let images = Table::from_iter([("screen".to_owned(), Value::Table(image.parse().unwrap()))]);
    lab.insert("images".to_owned(), Value::Table(images));
    comes_and_goes(test, &lab, "--image screen --allow-unverified", 8 * WITHIN);
}
