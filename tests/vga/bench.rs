//! The test bed: an emulated host with a libvirt daemon of its own, and guests without a serial port on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use netlab::guest::{Session, SessionError, Transcript};
use netlab::host::Host;
use netlab::host::guests::BootSlots;
use netlab::host::linux::{LinuxHost, Place};
use netlab::lab::{Boot, ConsoleKind, Dialect, Firmware, HostName, ImageConsole, Login, Password, Video};
use netlab::plan::Step;
use netlab::state::{Accel, Domain, DomainName, Machine, MachineKind, Start};

pub use crate::support::guest_disk::guest_files;
use crate::support::machines::Machines;
pub use crate::support::skip as skipped;

/// An emulated host, removed with everything on it when dropped.
pub struct Bench {
    pub host: LinuxHost,
    machines: Machines,
}

impl Bench {
    /// Returns a bench, or none where emulated hosts or the guest are not available.
    pub fn new(test: &str) -> Option<Self> {
        let machines = Machines::new(test)?;
        if let Err(why) = guest_files() {
            skipped(test, &why);
            return None;
        }
        let machine = Machine {
            stp: false,
            lags: BTreeSet::new(),
            kind: MachineKind::Host,
            nics: BTreeMap::new(),
            outside: BTreeSet::new(),
            names: BTreeMap::new(),
            to_host: None,
            changed: BTreeSet::new(),
            alive: true,
        };
        let steps = [Step::CreateMachine(node()), Step::ConfigureMachine(node(), machine)];
        machines.apply(&steps).unwrap();
        let place = Place::Emulated(machines.lab.clone(), node());
        Some(Self {
            host: LinuxHost::new(node(), place, machines.folders.clone(), Arc::new(BootSlots::default())),
            machines,
        })
    }

    /// Starts a guest with the kernel command line `arguments`.
    pub fn start(&self, vm: &str, arguments: &str) -> DomainName {
        let files = guest_files().unwrap();
        let name = DomainName::new(&self.machines.lab, &vm.parse().unwrap());
        let domain = Domain {
            uuid: uuid(&name),
            accel: Accel::Qemu,
            arch: "i686".to_owned(),
            machine: "pc".to_owned(),
            disk_bus: String::new(),
            memory_mib: 128,
            disk_mib: None,
            disks: Vec::new(),
            cdrom: None,
            cpus: 1,
            boot: Boot::Kernel {
                kernel: files.join("kernel"),
                initrd: Some(files.join("initrd")),
                disk: None,
                cmdline: arguments.to_owned(),
            },
            seed: None,
            firmware: Firmware::default(),
            video: Video::default(),
            nics: Vec::new(),
            running: true,
            start: Start::Boot,
            configured: None,
            tasks: Vec::new(),
        };
        let steps = [
            Step::DefineDomain(name.clone(), Box::new(domain)),
            Step::StartDomain(name.clone(), Start::Boot),
        ];
        self.host.apply(&self.machines.lab, &steps, &()).unwrap();
        name
    }

    /// Stops a guest: a panicked one keeps a processor busy.
    pub fn stop(&self, name: &DomainName) {
        let stop = Step::StopDomain {
            name: name.clone(),
            uuid: uuid(name),
        };
        self.host.apply(&self.machines.lab, &[stop], &()).unwrap();
    }

    /// Opens a session on a guest's screen.
    pub fn open(&self, name: &DomainName, image: &ImageConsole) -> Result<Session<'static>, SessionError> {
        let console = self.host.open_console(name, ConsoleKind::Vga).unwrap();
        let transcript = Transcript::append(&self.transcript(name)).unwrap();
        Session::open(console, image, transcript, &mut |_| ())
    }

    pub fn transcript(&self, name: &DomainName) -> PathBuf {
        self.machines.folder().join(format!("{}.log", name.vm()))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.machines.folder()).unwrap().flatten() {
                if entry.path().extension().is_some_and(|end| end == "log") {
                    eprintln!("{}", std::fs::read_to_string(entry.path()).unwrap_or_default());
                }
            }
        }
    }
}

/// The same for the same guest.
fn uuid(name: &DomainName) -> String {
    let sum = name.to_string().bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into()) & 0xffff_ffff_ffff
    });
    format!("6f1d0f3e-8f8c-5a57-9a35-{sum:012x}")
}

fn node() -> HostName {
    "node1".parse().unwrap()
}

/// The console of a guest that starts with a shell.
pub fn image() -> ImageConsole {
    ImageConsole {
        kind: ConsoleKind::Vga,
        prompt: "vga# ".to_owned(),
        login: None,
        dialect: Dialect::Ip,
        boot_seconds: 240,
    }
}

/// The console of a guest with a login.
pub fn with_login(password: &str) -> ImageConsole {
    ImageConsole {
        login: Some(Login {
            prompt: "login: ".to_owned(),
            user: "root".to_owned(),
            password: Some(Password::Text(password.to_owned())),
            root_password: None,
        }),
        ..image()
    }
}
