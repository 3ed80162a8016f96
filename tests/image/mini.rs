//! The built-in image: two builds are identical, and it boots with every NIC model.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use netlab::event::Events;
use netlab::folders::Folders;
use netlab::image::{built as in_cache, catalog, ensure, entries};
use netlab::lab::{Boot, Image, ImageName};

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn built(cache: &Path) -> (Folders, Image) {
    let folders = Folders {
        state: cache.join("state"),
        cache: cache.join("cache"),
    };
    let mini = ImageName::new("mini").unwrap();
    let (sender, receiver) = mpsc::channel();
    ensure(&mini, &folders, &Events::to(sender)).unwrap();
    let events: Vec<_> = receiver.try_iter().map(|event| format!("{event:?}")).collect();
    assert!(events.iter().any(|event| event.contains("downloading")), "{events:?}");
    assert!(
        !events.iter().any(|event| event.contains("waiting")),
        "no other run builds it: {events:?}"
    );
    let image = catalog(&folders).unwrap().remove(&mini).unwrap();
    (folders, image)
}

/// Boots `image` with a NIC of `model`; returns its output up to its second prompt.
fn boot(image: &Image, model: &str) -> String {
    use std::io::Write;
    let Boot::Kernel {
        kernel,
        initrd: Some(initrd),
        cmdline,
        disk: None,
    } = &image.boot
    else {
        panic!("mini boots a kernel");
    };
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        "tcg",
        "-M",
        "pc",
        "-m",
        "96",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]);
    command.args(["-serial", "stdio", "-netdev", "user,id=n", "-device"]);
    command
        .arg(format!("{model},netdev=n,romfile="))
        .arg("-kernel")
        .arg(kernel);
    command.arg("-initrd").arg(initrd).args(["-append", cmdline]);
    let began = Instant::now();
    let mut child = Guard(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let mut stdout = child.0.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut output = String::new();
    let mut asked = false;
    loop {
        let left = Duration::from_secs(image.console.boot_seconds).saturating_sub(began.elapsed());
        let Ok(bytes) = receiver.recv_timeout(left) else {
            panic!("no prompt: {output}");
        };
        output.push_str(&String::from_utf8_lossy(&bytes));
        if !asked && output.contains(&image.console.prompt) {
            asked = true;
            stdin.write_all(b"ip link show eth0; echo EN''D\n").unwrap();
        }
        if output.contains("\nEND") || output.contains("\rEND") {
            return output;
        }
    }
}

#[test]
#[ignore = "soak: two builds and a boot"]
fn two_builds_are_identical_and_the_guest_boots() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folders, image) = built(one.path());
    let (other, _) = built(two.path());
    for file in ["kernel", "initrd", "built.toml"] {
        let read = |folders: &Folders| std::fs::read(folders.image(&image.name).join(file)).unwrap();
        assert!(read(&folders) == read(&other), "{file} differs");
    }
    assert!(in_cache(&image.name, &entries().unwrap()[&image.name], &folders).is_some());
    let left = std::fs::read_dir(folders.images()).unwrap().count();
    assert_eq!(left, 1, "only the image");
    for model in ["virtio-net-pci", "e1000", "ne2k_pci", "rtl8139"] {
        let output = boot(&image, model);
        assert!(output.contains("eth0: <"), "{model}: {output}");
    }
}

#[test]
fn mini_with_another_nic_has_the_same_files() {
    let folders = Folders {
        state: "/state".into(),
        cache: "/cache".into(),
    };
    let images = catalog(&folders).unwrap();
    let (mini, e1000) = (
        &images[&"mini".parse().unwrap()],
        &images[&"mini-e1000".parse().unwrap()],
    );
    assert_eq!(mini.boot, e1000.boot);
    assert_eq!(
        (&*mini.machine.nic_model, &*e1000.machine.nic_model),
        ("virtio", "e1000")
    );
}
