//! The SVG of every lab: well-formed, everything of the lab in it, nothing outside the picture and no two boxes over each
//! other. Not byte for byte: where exactly a box is, is free to change.

use std::collections::BTreeMap;

use netlab::graph::{Condition, Marks, svg};
use netlab::topology::Topology;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::each_lab;

/// A box of the picture: class, then left, top, right and lower border.
type Drawn = (String, [f64; 4]);

/// Reads the boxes and the texts of a picture, and its size.
fn read(picture: &str) -> (Vec<Drawn>, Vec<String>, [f64; 2]) {
    let mut reader = Reader::from_str(picture);
    let (mut boxes, mut texts, mut size) = (Vec::new(), Vec::new(), [0.0; 2]);
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return (boxes, texts, size),
            Event::Text(text) => texts.push(text.as_ref().to_owned()),
            Event::Start(element) if element.name().as_ref() == "svg" => {
                size = ["width", "height"].map(|name| number(&element, name).unwrap());
            }
            Event::Empty(element) if element.name().as_ref() == "rect" => {
                let class = attribute(&element, "class").unwrap();
                let place = ["x", "y", "width", "height"].map(|name| number(&element, name));
                if let [Some(x), Some(y), Some(width), Some(height)] = place {
                    boxes.push((class, [x, y, x + width, y + height]));
                }
            }
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).unwrap()?;
    Some(found.value.into_owned())
}

fn number(element: &BytesStart, name: &str) -> Option<f64> {
    attribute(element, name)?.parse().ok()
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn contains(a: &[f64; 4], b: &[f64; 4]) -> bool {
    a[0] <= b[0] && a[1] <= b[1] && a[2] >= b[2] && a[3] >= b[3]
}

fn checked(topology: &Topology) -> String {
    let picture = svg(topology, &Marks::default());
    let (boxes, texts, [width, height]) = read(&picture);
    let names = topology.hosts.keys().map(ToString::to_string);
    let names = names
        .chain(topology.guests.keys().map(ToString::to_string))
        .chain(topology.switches.keys().map(|name| format!("switch {name}")))
        .chain(topology.routers.keys().map(|name| format!("router {name}")))
        .chain(
            topology
                .guests
                .values()
                .flat_map(|guest| guest.nics.iter().map(|nic| nic.address.addr().to_string())),
        );
    for name in names {
        assert!(texts.contains(&name), "{name} is not in the picture: {texts:?}");
    }
    let cables = picture.matches("class=\"cable\"").count();
    assert_eq!(cables, topology.cables.len());
    let nics = topology.hosts.values().flat_map(|host| host.nics.values());
    let members = nics.filter_map(|nic| nic.bond.as_ref()).map(|bond| bond.nics.len());
    assert_eq!(picture.matches("class=\"bonded\"").count(), members.sum::<usize>());
    let page = [0.0, 0.0, width, height];
    for (at, (class, area)) in boxes.iter().enumerate() {
        assert!(contains(&page, area), "{class} {area:?} is outside of {page:?}");
        for (other, theirs) in &boxes[..at] {
            let inside = other == "host" && contains(theirs, area);
            assert!(
                inside || !overlap(area, theirs),
                "{class} {area:?} and {other} {theirs:?}"
            );
        }
    }
    picture
}

#[test]
fn the_picture_of_every_lab_shows_everything_and_no_box_covers_another() {
    assert!(each_lab(checked).len() >= 10);
}

/// Twenty hosts on two switches, eighty guests.
#[test]
fn the_picture_of_a_large_lab_shows_everything_and_no_box_covers_another() {
    use std::fmt::Write as _;
    let mut text = String::from("name = \"large\"\nimage = \"mini\"\n[switches.one]\n[switches.two]\n");
    for n in 0..20 {
        write!(
            text,
            "[hosts.n{n:02}]\nnics.eth0.address = \"172.16.99.{}/24\"\nnics.eth1 = {{}}\n[[cables]]\nends = [\"n{n:02}:eth0\", \"one:p{n}\"]\n\
             [[cables]]\nends = [\"n{n:02}:eth1\", \"two:p{n}\"]\n",
            10 + n
        )
        .unwrap();
    }
    text.push_str("[networks.red]\nsubnet = \"10.0.1.0/24\"\nuplink = \"eth0\"\nvlan = 10\n");
    text.push_str("[networks.blue]\nsubnet = \"10.0.2.0/24\"\nuplink = \"eth1\"\n");
    let hosts: Vec<String> = (0..20).map(|n| format!("\"n{n:02}\"")).collect();
    write!(
        text,
        "[vms.web]\nhosts = [{}]\ncount = 80\nnics = [{{ network = \"red\" }}, {{ network = \"blue\" }}]\n",
        hosts.join(", ")
    )
    .unwrap();
    let images = super::images();
    let lab = netlab::lab::parse("large.toml", &text, &images.keys().cloned().collect()).unwrap();
    checked(&netlab::topology::allocate(&lab, &images));
}

#[test]
fn a_guest_a_machine_and_a_nic_that_are_not_as_described_are_colored_with_their_cables() {
    let pictures = each_lab(|topology| {
        let mut marks = Marks::default();
        let Some(vm) = topology.guests.keys().next() else {
            return String::new();
        };
        marks.guests = BTreeMap::from([(vm.clone(), Condition::Bad)]);
        let [end, _] = &topology.cables[0].ends;
        marks.broken = [(end.host.clone(), end.nic.clone())].into();
        svg(topology, &marks)
    });
    let picture = &pictures["quickstart"];
    for class in ["vm bad", "nic bad", "cable bad"] {
        assert_eq!(picture.matches(&format!("class=\"{class}\"")).count(), 1, "{class}");
    }
}
