//! What VMs are given besides their NICs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{FileSource, ImageName, Lab, parse, write};

const HEAD: &str = "name = \"a\"\n[hosts.node1]\n[networks.n]\nsubnet = \"10.0.1.0/24\"\n";

fn lab(file: &str, text: &str) -> Result<Lab, String> {
    let images = BTreeSet::from([ImageName::new("mini").unwrap()]);
    parse(file, text, &images).map_err(|wrong| {
        let messages: Vec<_> = wrong.problems.iter().map(|problem| problem.message.clone()).collect();
        messages.join("\n")
    })
}

#[test]
fn what_is_written_for_a_vm_and_for_all_is_read_back_from_the_written_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("more.yaml"), "#cloud-config\nlocale: C\n").unwrap();
    std::fs::write(folder.path().join("blob"), [0, 159]).unwrap();
    let text = format!(
        "user = \"bob\"\nrun = \"all\"\n{HEAD}\
         [vms.web]\ncount = 2\nnics = [{{ network = \"n\" }}]\npassword = \"it's\"\nuser_data = \"more.yaml\"\n\
         packages = [\"curl\"]\nfiles = [{{ path = \"/a\", content = \"{{{{ vms.web-1.address }}}}\\n{{{{ '{{{{' }}}}\" }}, \
         {{ path = \"/b\", from = \"blob\", mode = \"0600\" }}]\n[vms.db]\nrun = []\n[vars]\nx = 1\n"
    );
    let file = folder.path().join("lab.toml").display().to_string();
    let read = lab(&file, &text.replace("name = \"a\"\n", "")).unwrap_err();
    assert!(read.contains("no name"), "{read}");
    let text = format!("name = \"a\"\n{}", text.replace("name = \"a\"\n", ""));
    let read = lab(&file, &text).unwrap();
    let web = &read.vms[&"web-2".parse().unwrap()].setup;
    assert_eq!(web.files.as_ref().unwrap()[1].mode, 0o600);
    assert!(
        matches!(&web.files.as_ref().unwrap()[1].source, FileSource::File(file) if file.content.bytes() == Some(&[0, 159]))
    );
    let given = web.or(&read.setup);
    assert_eq!((given.user.as_deref(), given.run.unwrap().len()), (Some("bob"), 1));
    assert_eq!(
        read.vms[&"db".parse().unwrap()]
            .setup
            .or(&read.setup)
            .run
            .unwrap()
            .len(),
        0
    );
    assert_eq!(lab(&file, &write(&read)).unwrap(), read);
}

#[test]
fn user_data_is_what_cloud_init_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.toml").display().to_string();
    let cases = BTreeMap::from([
        ("ls\n", "nothing that cloud-init reads"),
        ("#cloud-config\na: [1\nb: 2\n", "line 3"),
        ("#cloud-config\n- a\n", "not a YAML mapping"),
    ]);
    for (content, wanted) in cases {
        std::fs::write(folder.path().join("d"), content).unwrap();
        let wrong = lab(&file, &format!("user_data = \"d\"\n{HEAD}")).unwrap_err();
        assert!(wrong.contains(wanted), "{content}: {wrong}");
    }
    let wrong = lab(&file, &format!("user_data = \"/dev/zero\"\n{HEAD}")).unwrap_err();
    assert!(wrong.contains("not a regular file"), "{wrong}");
}
