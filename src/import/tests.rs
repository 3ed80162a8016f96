//! What a file is read as; whole files are in tests/golden/import.

use super::conf::Conf;
use super::*;

fn options() -> ImportOptions {
    ImportOptions {
        name: "nova".parse().unwrap(),
        format: Format::NovaConf,
        hosts: Vec::new(),
        vms: 0,
    }
}

fn wrong(text: &str) -> String {
    import(text.as_bytes(), &options()).unwrap_err().to_string()
}

/// The value of an option.
fn value(text: &str, option: &str) -> Option<String> {
    Conf::read(text).value(option).unwrap().map(|value| value.text)
}

#[test]
fn options_are_read_as_oslo_config_and_gflags_read_them() {
    for (text, wanted) in [
        ("my_ip = 10.0.0.1", Some("10.0.0.1")),
        ("my_ip: 10.0.0.1", Some("10.0.0.1")),
        ("my_ip = \"10.0.0.1\"", Some("10.0.0.1")),
        ("my_ip = '10.0.0.1", Some("'10.0.0.1")),
        ("--my_ip=10.0.0.1", Some("10.0.0.1")),
        ("--my_ip 10.0.0.1", Some("10.0.0.1")),
        ("-my_ip = 10.0.0.1", Some("10.0.0.1")),
        ("my_ip = 10.0.0.2\nmy_ip = 10.0.0.1", Some("10.0.0.1")),
        (
            "[DEFAULT]\nmy_ip = 10.0.0.1\n[neutron]\nmy_ip = 10.0.0.2",
            Some("10.0.0.1"),
        ),
        ("ip = 10.0.0.1\nmy_ip = $ip", Some("10.0.0.1")),
        ("net = 10.0\nmy_ip = ${net}.0.1", Some("10.0.0.1")),
        ("my_ip = $$ip", Some("$ip")),
        ("my_ip =", None),
        ("my_ip = 10.0.0.1\nmy_ip =", None),
        ("# my_ip = 10.0.0.1\n; my_ip = 10.0.0.1", None),
        ("my_ip = $another_option", None),
    ] {
        assert_eq!(value(text, "my_ip").as_deref(), wanted, "{text}");
    }
    for (text, wanted) in [
        ("--multi_host", Some("true")),
        ("--nomulti_host", Some("false")),
        ("--multi_host=False", Some("False")),
        ("multi_host", None),
    ] {
        assert_eq!(value(text, "multi_host").as_deref(), wanted, "{text}");
    }
    // Only flags can be negated, and only they need no value.
    assert_eq!(value("--nomy_ip", "my_ip"), None);
    assert_eq!(value("--my_ip", "my_ip"), None);
}

#[test]
fn a_value_over_several_lines_is_one_value() {
    let conf = Conf::read("a =\n  one\n  two\n\nb = 3\n# c\nnot an option\n");
    let values: Vec<_> = conf
        .entries
        .iter()
        .map(|entry| (entry.line, entry.value.as_str()))
        .collect();
    assert_eq!(values, [(1, "one\ntwo"), (5, "3")]);
    assert_eq!(conf.unreadable, [(7, "not an option".to_owned())]);
}

#[test]
fn any_bytes_are_text() {
    assert_eq!(conf::decode(b"\xef\xbb\xbfa"), "a");
    assert_eq!(conf::decode("ü".as_bytes()), "ü");
    assert_eq!(conf::decode(b"\xfc"), "ü");
    assert_eq!(conf::decode(b"a\r\nb\rc\n"), "a\nb\nc\n");
}

#[test]
fn an_error_has_its_line_and_what_is_written_there() {
    assert_eq!(wrong("[DEFAULT]\nverbose = true\n"), "no option of nova-network found");
    for (text, wanted) in [
        ("--vlan_start=1\n--my_ip=1.2.3\n", "line 2: my_ip = 1.2.3: "),
        ("--vlan_interface=a/b\n", "line 1: vlan_interface = a/b: "),
        (
            "--vlan_start=4095\n",
            "line 1: vlan_start = 4095: not a number from 1 to 4094",
        ),
        (
            "--multi_host=maybe\n",
            "line 1: multi_host = maybe: neither true nor false",
        ),
        (
            "--fixed_range=10.0.0.0/33\n",
            "line 1: fixed_range = 10.0.0.0/33: not an address",
        ),
        (
            "--flat_interface=\x1b[31m\n--network_manager=x.FlatManager",
            "line 1: flat_interface = \\u{1b}[31m: ",
        ),
        ("--fixed_range=127.0.0.0/8\n", "line 1: fixed_range = 127.0.0.0/8: "),
    ] {
        let error = wrong(text);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn one_mistake_is_one_error_with_its_line() {
    for (text, wanted) in [
        (
            "--fixed_range=10.0.0.0/31\n",
            "line 1: fixed_range = 10.0.0.0/31: network_size 2 is not the size of a subnet",
        ),
        (
            "flat_interface = br100\nnetwork_manager = FlatManager\n",
            "line 1: flat_interface = br100: the name of the bridge; the option is for the NIC in it",
        ),
        (
            "--network-manager=FlatManager\n",
            "no option of nova-network found\nline 1: network-manager: did you mean network_manager?",
        ),
        (
            "[default]\nvlan_start = 1\n",
            "no option of nova-network found\nline 1: [default]: did you mean [DEFAULT]?",
        ),
    ] {
        assert_eq!(wrong(text), wanted);
    }
}

#[test]
fn neutron_is_recognized_by_whatever_names_it_unless_nova_network_is_configured() {
    for text in [
        "use_neutron = true\n",
        "quantum_url = http://c:9696\n",
        "linuxnet_interface_driver = nova.network.linux_net.NeutronLinuxBridgeInterfaceDriver\n",
        "[neutron]\nurl = http://c:9696\n",
    ] {
        let error = import(text.as_bytes(), &options()).unwrap_err();
        assert!(matches!(error, ImportError::Neutron { line: 1, .. }), "{text}: {error}");
    }
    let both = import(b"vlan_start = 100\n[neutron]\nurl = http://c:9696\n", &options());
    assert!(both.is_ok(), "{both:?}");
}

#[test]
fn an_option_that_names_another_one_which_is_not_in_the_file_is_a_comment() {
    let imported = import(b"vlan_start = 100\nmy_ip = $address\n", &options()).unwrap();
    let comment = "#   line 2: my_ip = $address: names an option that is not in the file\n";
    assert!(imported.text.contains(comment), "{}", imported.text);
}

#[test]
fn every_option_of_nova_network_has_one_description() {
    let names: BTreeSet<_> = options::OPTIONS.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), options::OPTIONS.len());
    for known in options::OPTIONS.iter().filter(|known| known.name.len() > 6) {
        assert_eq!(meant(&known.name.replacen('_', "-", 1)), Some(known.name));
    }
    assert_eq!(meant("fixed_rnage"), Some("fixed_range"));
    assert_eq!(meant("verbose"), None);
}

#[test]
fn a_host_is_added_by_name_and_address() {
    let host: AddedHost = "node2=172.16.99.109".parse().unwrap();
    assert_eq!(
        (host.name.as_str(), host.address.to_string().as_str()),
        ("node2", "172.16.99.109")
    );
    for wrong in ["node2", "node2=", "=1.2.3.4", "node_2=1.2.3.4", "node2=1.2.3.4/24"] {
        assert!(wrong.parse::<AddedHost>().is_err(), "{wrong}");
    }
    let twice = ImportOptions {
        hosts: vec![host.clone(), host],
        ..options()
    };
    let error = import(b"--vlan_start=1", &twice).unwrap_err().to_string();
    assert_eq!(error, "--host = node2=172.16.99.109: given twice");
}

#[test]
fn a_file_in_utf_16_is_read() {
    let text = "--vlan_start=7\r\n";
    let big: Vec<u8> = [0xfe, 0xff]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_be_bytes))
        .collect();
    let little: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for bytes in [big, little] {
        assert_eq!(conf::decode(&bytes), "--vlan_start=7\n");
    }
}
