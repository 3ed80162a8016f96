//! A guest in QEMU, with its serial console on a UNIX socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netlab::guest::{Console, ConsoleError};

use super::initramfs::Boot;

/// A running guest, stopped when dropped.
pub struct Guest {
    qemu: Child,
    folder: tempfile::TempDir,
}

impl Guest {
    /// Starts a guest with a NIC on 10.0.2.0/24 and one on 10.0.3.0/24, whose gateways (`.2`) answer pings.
    pub fn start(boot: &Boot, macs: [&str; 2], kernel_arguments: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (socket, initrd) = (folder.path().join("console"), folder.path().join("initrd"));
        std::fs::write(&initrd, &boot.initrd).unwrap();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg",
            "-m",
            "128",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-kernel",
        ]);
        qemu.arg(&boot.kernel).arg("-initrd").arg(initrd);
        qemu.args([
            "-append",
            &format!("console=ttyS0 panic=0 no_timer_check {kernel_arguments}"),
        ]);
        qemu.args(["-serial", &format!("unix:{},server=on,wait=on", socket.display())]);
        for (number, mac) in macs.iter().enumerate() {
            qemu.args(["-netdev", &format!("user,id=n{number},net=10.0.{}.0/24", number + 2)]);
            qemu.args([
                "-device",
                &format!("virtio-net-pci,netdev=n{number},mac={mac},romfile="),
            ]);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        Self {
            qemu: qemu.spawn().unwrap(),
            folder,
        }
    }

    /// Opens its console; the guest starts when it is opened for the first time.
    pub fn console(&self) -> Box<dyn Console> {
        let began = Instant::now();
        loop {
            match UnixStream::connect(self.folder.path().join("console")) {
                Ok(stream) => return Box::new(Socket(stream)),
                Err(error) if began.elapsed() > Duration::from_secs(60) => panic!("QEMU opens no console: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// A folder that is removed with the guest.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// QEMU's process.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.qemu)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

struct Socket(UnixStream);

impl Console for Socket {
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        let mut bytes = vec![0; 65_536];
        // A timeout of 0 means none.
        let read = self
            .0
            .set_read_timeout(Some(wait.max(Duration::from_micros(1))))
            .and_then(|()| self.0.read(&mut bytes));
        match read {
            Ok(0) => Err(ConsoleError::Closed),
            Ok(length) => Ok(bytes[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(ConsoleError::Closed),
            Err(error) => Err(ConsoleError::failed(error)),
        }
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.0.write_all(text).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => ConsoleError::Closed,
            _ => ConsoleError::failed(error),
        })
    }
}
