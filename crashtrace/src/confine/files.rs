//! Landlock: files, Unix sockets, ports and other processes.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictSelfAttr as _, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
    Scope,
};

use super::Whom;
use super::needs::{Needs, Network};

/// The newest ABI that this was written for. The crate leaves out what the running kernel lacks.
const WRITTEN_FOR: ABI = ABI::V10;
/// Port of name servers: musl and glibc repeat a query by TCP where the answer is long.
const NAME_SERVER: u16 = 53;

/// Restricts this thread. Returns the kernel's landlock version.
pub(super) fn restrict(whom: Whom, needs: &Needs) -> Result<i32, String> {
    let ruleset = ruleset(needs).map_err(|error| error.to_string())?;
    let mut ruleset = ruleset.no_new_privs(false);
    if whom == Whom::Process {
        // From ABI 8 on; before, existing threads are not restricted.
        ruleset = ruleset.all_threads(true).map_err(|error| error.to_string())?;
    }
    let status = ruleset.restrict_self().map_err(|error| error.to_string())?;
    match status.landlock {
        LandlockStatus::NotEnabled => {
            Err("it is not switched on in this kernel (boot parameter lsm=)".to_owned())
        }
        LandlockStatus::NotImplemented => Err("this kernel does not have it".to_owned()),
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Ok(kernel_abi.unwrap_or(effective_abi as i32))
        }
    }
}

fn ruleset(needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(WRITTEN_FOR))?
        .scope(Scope::from_all(WRITTEN_FOR))?
        .handle_access(AccessNet::BindTcp)?;
    match needs.network {
        Network::None => ruleset = ruleset.handle_access(AccessNet::from_all(WRITTEN_FOR))?,
        Network::Ports(_) => ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?,
        Network::Any => {}
    }
    let mut created = ruleset.create()?;
    for path in &needs.reads {
        created = beneath(created, path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for path in &needs.sockets {
        created = beneath(created, &there(path), AccessFs::ResolveUnix.into())?;
    }
    if let Network::Ports(ports) = &needs.network {
        for port in ports.iter().copied().chain([NAME_SERVER]) {
            created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(created)
}

/// A path that does not exist is left out.
fn beneath(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(path) => ruleset.add_rule(PathBeneath::new(path, access)),
        Err(_) => Ok(ruleset),
    }
}

/// This folder, or its nearest existing ancestor: a runtime may create its folder later.
fn there(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(path).to_owned()
}
