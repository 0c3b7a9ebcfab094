//! What differs between the processors that guests have.

use anyhow::{Result, bail};

/// The processor of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// That of this machine.
    pub(crate) fn of_this_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => bail!("nothing is known of {other}: x86_64 or aarch64 is meant"),
        }
    }

    /// The target of what runs in such a guest: static.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Debian's word for it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The emulator, and Debian's package of it.
    pub(crate) fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// The emulator's arguments for the machine and its processor.
    pub(crate) fn machine(self) -> &'static [&'static str] {
        match self {
            // QEMU 7.2 emulates cmpxchg16b wrongly now and then, and the guest dies of a double fault.
            Self::X86_64 => &["-M", "q35", "-cpu", "EPYC,-cx16"],
            // A plain ARMv8.0: what later ones add (pointer authentication above all) costs an emulator dearly.
            Self::Aarch64 => &["-M", "virt,gic-version=3", "-cpu", "cortex-a57"],
        }
    }

    /// The emulator's arguments for the two serial ports, which write to these files.
    pub(crate) fn ports(self, console: &str, results: &str) -> Vec<String> {
        let mut args = vec!["-serial".to_owned(), format!("file:{console}")];
        match self {
            Self::X86_64 => args.extend(["-serial".to_owned(), format!("file:{results}")]),
            // The machine has one port of its own.
            Self::Aarch64 => args.extend([
                "-chardev".to_owned(),
                format!("file,id=results,path={results}"),
                "-device".to_owned(),
                "pci-serial,chardev=results".to_owned(),
            ]),
        }
        args
    }

    /// The kernel's arguments that depend on it: which port is which, and where time and chance come from.
    pub(crate) fn kernel_args(self) -> &'static str {
        match self {
            // An emulated CPU on a busy host stands still for seconds, and its clock with it.
            Self::X86_64 => "console=ttyS0 crashtrace.results=ttyS1 tsc=reliable random.trust_cpu=on",
            Self::Aarch64 => "console=ttyAMA0 crashtrace.results=ttyS0 random.trust_bootloader=on",
        }
    }
}
