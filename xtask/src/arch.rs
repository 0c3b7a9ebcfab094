//! Processors of guests and images, and what differs between them.

use anyhow::{Result, bail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    pub(crate) fn of_this_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => bail!("{other} is not supported: x86_64 or aarch64"),
        }
    }

    /// The static target.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Debian's name.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The emulator and its Debian package.
    pub(crate) fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// The emulator's arguments for the machine and its processor.
    pub(crate) fn machine(self) -> &'static [&'static str] {
        match self {
            // QEMU 7.2 sometimes emulates cmpxchg16b wrongly, and the guest dies of a double fault.
            Self::X86_64 => &["-M", "q35", "-cpu", "EPYC,-cx16"],
            // A plain ARMv8.0: later features (pointer authentication above all) are slow to emulate.
            Self::Aarch64 => &["-M", "virt,gic-version=3", "-cpu", "cortex-a57"],
        }
    }

    /// The emulator's arguments for the two serial ports, which write to these files.
    pub(crate) fn ports(self, console: &str, results: &str) -> Vec<String> {
        let mut args = vec!["-serial".to_owned(), format!("file:{console}")];
        match self {
            Self::X86_64 => args.extend(["-serial".to_owned(), format!("file:{results}")]),
            // The machine has one built-in port.
            Self::Aarch64 => args.extend([
                "-chardev".to_owned(),
                format!("file,id=results,path={results}"),
                "-device".to_owned(),
                "pci-serial,chardev=results".to_owned(),
            ]),
        }
        args
    }

    /// Its kernel arguments: serial ports, clock source and random numbers.
    pub(crate) fn kernel_args(self) -> &'static str {
        match self {
            // On a busy host an emulated CPU and its clock stand still for seconds.
            Self::X86_64 => "console=ttyS0 crashtrace.results=ttyS1 tsc=reliable random.trust_cpu=on",
            Self::Aarch64 => "console=ttyAMA0 crashtrace.results=ttyS0 random.trust_bootloader=on",
        }
    }
}
